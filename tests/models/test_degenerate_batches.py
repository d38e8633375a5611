"""Batches with next to nothing in them: every loss term and every gradient stays finite."""

import functools
from contextlib import nullcontext

import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes

from tests.models.small_models import (
    SIZE,
    SMALL,
    SMALL_MASK_PROP,
    SMALL_OBJPROP,
    frame_sample,
    seeded_model,
)
from vispropnet.engine.acceleration import layers_in_bfloat16

NECK = dict(type='AttentionNeck', channels=64)
WEIGHTED, CATEGORY = dict(type='WeightedAffinity'), dict(type='CategoryAffinity', rank=2)
# Changes of the configs' models.
MODELS_OF = {
    'masktrack': {},
    'objprop': {},
    'objprop neck weighted': dict(attn_neck=NECK, prop_head=dict(affinity=WEIGHTED)),
    'objprop by category': dict(prop_head=dict(class_agnostic=False, resize_attention=True)),
    'objprop neck category gaussian': dict(
        attn_neck=NECK, prop_head=dict(affinity=CATEGORY, train_sigma=3.0)
    ),
    'mask-prop': {},
}
PATHS = {'masktrack': SMALL, 'objprop': SMALL_OBJPROP, 'mask-prop': SMALL_MASK_PROP}
BOX, OTHER = [10, 10, 30, 30], [40, 20, 70, 50]


def sample(*boxes, ids=None, ignored=(), filled=True):
    """A frame whose objects have these boxes, as labels 0, 1 ... and ids 0, 1 ..."""
    count = len(boxes)
    made = frame_sample(boxes, range(count), ids or range(count))
    made.ignored_instances.bboxes = torch.tensor(ignored, dtype=torch.float).reshape(-1, 4)
    if not filled:
        made.gt_instances.masks.masks[:] = 0
    return made


# Key and reference frames, made anew for each test.
BATCHES = {
    'empty key': lambda: ([sample()], [sample(BOX)]),
    'empty reference': lambda: ([sample(BOX)], [sample()]),
    'empty both': lambda: ([sample()], [sample()]),
    'one of two clips empty': lambda: ([sample(), sample(BOX)], [sample(), sample(BOX)]),
    'one object': lambda: ([sample(BOX)], [sample(BOX)]),
    'other objects': lambda: ([sample(BOX, ids=[4])], [sample(OTHER, ids=[5])]),
    'ignored only': lambda: ([sample(ignored=[BOX])], [sample(ignored=[OTHER])]),
    'ignored all over': lambda: tuple([sample(BOX, ignored=[[0, 0, 96, 64]])] for _ in range(2)),
    'box without area': lambda: ([sample([20, 20, 20, 20])], [sample([20, 20, 20, 20])]),
    'box without width': lambda: ([sample([20, 10, 20, 40], BOX)], [sample([20, 10, 20, 40], BOX)]),
    'box without height': lambda: ([sample([10, 20, 40, 20])], [sample([10, 20, 40, 20])]),
    'box at the corner': lambda: ([sample([96, 64, 96, 64])], [sample([0, 0, 0, 0])]),
    'masks without a pixel': lambda: tuple([sample(BOX, OTHER, filled=False)] for _ in range(2)),
    'whole frame': lambda: ([sample([0, 0, 96, 64])], [sample([0, 0, 96, 64])]),
}


@pytest.fixture(scope='module')
def built():
    """Builds each model once."""

    @functools.cache
    def build(name):
        return seeded_model(PATHS[name.split()[0]], **MODELS_OF[name])

    return build


def check(model, *positions, precision='float32'):
    """Losses and gradients of a batch; every weight has one, as ranks would wait for it."""
    generator = torch.Generator().manual_seed(1)
    shape = (len(positions), len(positions[0]), 3, *SIZE)
    images = torch.randint(0, 256, shape, generator=generator).byte()
    batch = dict(inputs=[list(some) for some in images], data_samples=list(positions))
    data = model.data_preprocessor(batch, True)
    model.zero_grad(set_to_none=True)
    with layers_in_bfloat16(model) if precision == 'bf16' else nullcontext():
        total, terms = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    for name, one in (*terms.items(), *gradients.items(), *model.named_buffers()):
        assert one is not None and torch.isfinite(one).all(), name
    return terms


@pytest.mark.parametrize('precision', ['float32', 'bf16'])
@pytest.mark.parametrize('batch', BATCHES)
@pytest.mark.parametrize('name', MODELS_OF)
def test_losses_and_gradients_are_finite(built, name, batch, precision):
    check(built(name), *BATCHES[batch](), precision=precision)


@pytest.mark.parametrize('batch', BATCHES)
@pytest.mark.parametrize('name', ['masktrack', 'objprop neck weighted', 'mask-prop'])
def test_with_a_second_reference_too(built, name, batch):
    """The second one has an object that the first may lack."""
    key, ref = BATCHES[batch]()
    check(built(name), key, ref, [sample(OTHER, ids=[5]) for _ in key])


def test_objects_without_area_are_left_out_of_clips(built):
    frame = sample(BOX, [20, 10, 20, 40], OTHER)
    # As the data pipeline gives them.
    frame.gt_instances.bboxes = HorizontalBoxes(frame.gt_instances.bboxes)
    image = torch.zeros(3, *SIZE, dtype=torch.uint8)
    batch = dict(inputs=[[image], [image]], data_samples=[[frame], [sample(BOX)]])
    data = built('masktrack').data_preprocessor(batch, True)
    found = data['data_samples'][0][0].gt_instances
    assert (found.bboxes.tolist(), found.instances_ids.tolist()) == ([BOX, OTHER], [0, 2])
    assert found.masks.masks.sum(axis=(1, 2)).tolist() == [20 * 20, 30 * 30]
    # The loader's own is as it was.
    assert len(frame.gt_instances) == 3


def propose_nothing(model, monkeypatch):
    """Has the RPN lose as before, and propose nothing."""
    predict = model.detector.rpn_head.loss_and_predict

    def nothing(*args, **kwargs):
        losses, proposals = predict(*args, **kwargs)
        return losses, [one[:0] for one in proposals]

    monkeypatch.setattr(model.detector.rpn_head, 'loss_and_predict', nothing)


@pytest.mark.parametrize('precision', ['float32', 'bf16'])
@pytest.mark.parametrize('objects', [[], [BOX]])
@pytest.mark.parametrize('name', MODELS_OF)
def test_no_proposals(built, monkeypatch, name, objects, precision):
    model = built(name)
    propose_nothing(model, monkeypatch)
    # Without the objects' own boxes among the proposals.
    monkeypatch.setattr(model.detector.roi_head.bbox_sampler, 'add_gt_as_proposals', False)
    terms = check(model, [sample(*objects)], [sample(*objects)], precision=precision)
    assert terms['loss_mask'] == terms.get('loss_match', 0) == 0


@pytest.mark.parametrize('name', MODELS_OF)
def test_no_positives(built, monkeypatch, name):
    model = built(name)
    roi_head = model.detector.roi_head
    # Nothing overlaps by more than all.
    for key, value in (('pos_iou_thr', 1.1), ('min_pos_iou', 1.1), ('match_low_quality', False)):
        monkeypatch.setattr(roi_head.bbox_assigner, key, value)
    monkeypatch.setattr(roi_head.bbox_sampler, 'add_gt_as_proposals', False)
    terms = check(model, [sample(BOX)], [sample(BOX)])
    assert terms['loss_bbox'] == terms.get('loss_match', 0) == 0


@pytest.mark.parametrize('name', MODELS_OF)
def test_only_positives(built, monkeypatch, name):
    model = built(name)
    # The objects' own boxes are among the proposals.
    propose_nothing(model, monkeypatch)
    check(model, [sample(BOX)], [sample(BOX)])
