"""Batches with next to nothing in them: every loss term and every gradient stays finite."""

import copy

import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import Config
from mmengine.structures import InstanceData

from tests.models.small_models import SIZE, SMALL, SMALL_OBJPROP, frame_sample
from vispropnet.engine.acceleration import layers_in_bfloat16
from vispropnet.registry import MODELS

NECK = dict(type='AttentionNeck', channels=64)
MODELS_OF = {
    'masktrack': (SMALL, {}),
    'objprop': (SMALL_OBJPROP, {}),
    'objprop neck weighted': (
        SMALL_OBJPROP,
        {'model.attn_neck': NECK, 'model.prop_head.affinity': dict(type='WeightedAffinity')},
    ),
    'objprop by category': (
        SMALL_OBJPROP,
        {'model.prop_head.class_agnostic': False, 'model.prop_head.resize_attention': True},
    ),
    'objprop neck category gaussian': (
        SMALL_OBJPROP,
        {
            'model.attn_neck': NECK,
            'model.prop_head.affinity': dict(type='CategoryAffinity', rank=2),
            'model.prop_head.train_sigma': 3.0,
        },
    ),
}
BOX, OTHER = [10, 10, 30, 30], [40, 20, 70, 50]


def sample(*boxes, ids=None, ignored=()):
    """A frame whose objects have these boxes, as labels 0, 1 ... and ids 0, 1 ..."""
    count = len(boxes)
    made = frame_sample(list(boxes), list(range(count)), ids or list(range(count)))
    made.ignored_instances = InstanceData(
        bboxes=torch.tensor(ignored, dtype=torch.float).reshape(-1, 4)
    )
    return made


def without_masks(made):
    """The same frame, its masks without a pixel."""
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
    'masks without a pixel': lambda: tuple([without_masks(sample(BOX, OTHER))] for _ in range(2)),
    'whole frame': lambda: ([sample([0, 0, 96, 64])], [sample([0, 0, 96, 64])]),
}


@pytest.fixture(scope='module')
def built(pytestconfig):
    """Builds each model once."""
    made = {}

    def build(name):
        if name not in made:
            path, changes = MODELS_OF[name]
            config = Config(dict(model=Config.fromfile(pytestconfig.rootpath / path).model))
            config.merge_from_dict(copy.deepcopy(changes))
            torch.manual_seed(0)
            made[name] = MODELS.build(config.model)
            made[name].init_weights()
        model = made[name].train()
        model.zero_grad(set_to_none=True)
        return model

    return build


def check(model, *positions, precision='float32'):
    """Losses and gradients of a batch; every weight has one, as ranks would wait for it."""
    generator = torch.Generator().manual_seed(1)
    shape = (len(positions), len(positions[0]), 3, *SIZE)
    images = torch.randint(0, 256, shape, generator=generator).byte()
    batch = dict(inputs=[list(some) for some in images], data_samples=list(positions))
    data = model.data_preprocessor(batch, True)
    if precision == 'bf16':
        with layers_in_bfloat16(model):
            losses = model(**data, mode='loss')
    else:
        losses = model(**data, mode='loss')
    total, terms = model.parse_losses(losses)
    for name, value in terms.items():
        assert torch.isfinite(value), name
    total.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
    for name, buffer in model.named_buffers():
        assert torch.isfinite(buffer).all(), name
    return terms


@pytest.mark.parametrize('precision', ['float32', 'bf16'])
@pytest.mark.parametrize('batch', BATCHES)
@pytest.mark.parametrize('name', MODELS_OF)
def test_losses_and_gradients_are_finite(built, name, batch, precision):
    check(built(name), *BATCHES[batch](), precision=precision)


@pytest.mark.parametrize('batch', BATCHES)
@pytest.mark.parametrize('name', ['masktrack', 'objprop neck weighted'])
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
    assert found.bboxes.tolist() == [BOX, OTHER]
    assert found.instances_ids.tolist() == [0, 2]
    assert found.masks.masks.sum(axis=(1, 2)).tolist() == [20 * 20, 30 * 30]
    # The loader's own is as it was.
    assert len(frame.gt_instances) == 3


def propose_nothing(model, monkeypatch):
    """Has the RPN lose as before, and propose nothing."""
    head = model.detector.rpn_head
    predict = head.loss_and_predict

    def nothing(*args, **kwargs):
        losses, proposals = predict(*args, **kwargs)
        return losses, [one[:0] for one in proposals]

    monkeypatch.setattr(head, 'loss_and_predict', nothing)


@pytest.mark.parametrize('precision', ['float32', 'bf16'])
@pytest.mark.parametrize('objects', [[], [BOX]])
@pytest.mark.parametrize('name', MODELS_OF)
def test_no_proposals(built, monkeypatch, name, objects, precision):
    model = built(name)
    propose_nothing(model, monkeypatch)
    # Without the objects' own boxes among the proposals.
    sampler = model.detector.roi_head.bbox_sampler
    monkeypatch.setattr(sampler, 'add_gt_as_proposals', False)
    terms = check(model, [sample(*objects)], [sample(*objects)], precision=precision)
    assert terms['loss_match'] == 0
    assert terms['loss_mask'] == 0


@pytest.mark.parametrize('name', MODELS_OF)
def test_no_positives(built, monkeypatch, name):
    model = built(name)
    assigner = model.detector.roi_head.bbox_assigner
    sampler = model.detector.roi_head.bbox_sampler
    # Nothing overlaps by more than all.
    for key, value in (('pos_iou_thr', 1.1), ('min_pos_iou', 1.1), ('match_low_quality', False)):
        monkeypatch.setattr(assigner, key, value)
    monkeypatch.setattr(sampler, 'add_gt_as_proposals', False)
    terms = check(model, [sample(BOX)], [sample(BOX)])
    assert terms['loss_match'] == 0
    assert terms['loss_bbox'] == 0


@pytest.mark.parametrize('name', MODELS_OF)
def test_only_positives(built, monkeypatch, name):
    model = built(name)
    # The objects' own boxes are among the proposals.
    propose_nothing(model, monkeypatch)
    check(model, [sample(BOX)], [sample(BOX)])
