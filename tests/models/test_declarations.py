"""Facts that models declare, for generic code."""

import pytest
import torch
from mmengine.config import ConfigDict

from tests.models.small_models import (
    MMDET,
    SMALL,
    SMALL_MASK_PROP,
    SMALL_OBJPROP,
    model_config,
)
from vispropnet.engine.acceleration import layers_in_bfloat16
from vispropnet.engine.checkpoints.weights import load_weights
from vispropnet.errors import UserError
from vispropnet.registry import MODELS

CHANGES = ('_attn-neck', '_category-affinity', '_weighted-affinity')
VARIANTS = [SMALL_OBJPROP.replace('.py', f'{change}.py') for change in CHANGES]
ALL = [SMALL, MMDET, SMALL_MASK_PROP, SMALL_OBJPROP, *VARIANTS]
BOX, MASK = 'detector.roi_head.bbox_head', 'detector.roi_head.mask_head'


def build(name, **changes):
    return MODELS.build(model_config(name, **changes))


def hooked(model):
    """Names of the modules that have a hook while layers compute in bfloat16."""
    with layers_in_bfloat16(model):
        return {name for name, one in model.named_modules() if one._forward_hooks}


@pytest.mark.parametrize('name', ALL)
def test_outputs_in_float32_are_those_of_neck_and_heads(name):
    model = build(name)
    # The rule by names, which the declarations replaced.
    last = ('neck', 'rpn_head', 'bbox_head', 'mask_head', 'embed_head')
    wanted = {one for one, _ in model.named_modules() if one.rpartition('.')[2] in last}
    assert hooked(model) == wanted and len(wanted) == (4 if name == SMALL_MASK_PROP else 5)


def test_each_head_of_a_cascade_counts():
    config = model_config(SMALL)
    roi_head, train_cfg = config.detector.roi_head, config.detector.train_cfg
    roi_head.update(type='CascadeRoIHead', num_stages=2, stage_loss_weights=[1, 0.5])
    for part in ('bbox_head', 'mask_head'):
        roi_head[part] = [roi_head[part], ConfigDict(roi_head[part])]
    train_cfg.rcnn = [train_cfg.rcnn, train_cfg.rcnn]
    roi_head.mask_head[1].class_agnostic = False
    model = MODELS.build(config)
    heads = [f'{BOX}.0', f'{BOX}.1', f'{MASK}.1', f'{MASK}.0']
    others = {'detector.neck', 'detector.rpn_head', 'track_head.embed_head'}
    assert hooked(model) == {*heads} | others
    assert model.category_counts() == dict.fromkeys(heads[:3], 4)


def test_categories_are_counted_where_they_are_told_apart():
    # The mask and propagation heads of the small configs treat all categories alike.
    for model, expected in (
        (build(SMALL), [BOX]),
        (build(SMALL, **{f'{MASK}.class_agnostic': False}), [BOX, MASK]),
        (build(MMDET), [f'model.{BOX}']),
        (build(SMALL_MASK_PROP), [BOX]),
        (build(SMALL_OBJPROP), [BOX]),
        (build(SMALL_OBJPROP, **{'prop_head.class_agnostic': False}), [BOX, 'prop_head']),
        (build(VARIANTS[1]), [BOX, 'prop_head.affinity']),
    ):
        assert model.category_counts() == dict.fromkeys(expected, 4)
    # Classifiers of encoders do not count.
    model.detector.backbone.num_classes = 1000
    assert list(model.category_counts().values()) == [4, 4]


def test_a_checkpoint_without_propagation_head_says_what_to_do():
    weights, model = build(SMALL).state_dict(), build(SMALL_OBJPROP)
    with pytest.raises(UserError) as caught:
        load_weights(model, weights, 'a.pth')
    told = 'this config: it has no propagation head (a MaskTrack R-CNN checkpoint?)'
    assert told in str(caught.value) and '--cfg-options load_from=FILE' in str(caught.value)
    report = load_weights(model, weights, 'a.pth', strict=False)
    assert all(key.startswith('prop_head.') for key in report.missing) and report.missing
    # A part of the head is missing for another reason.
    assert model.explain_missing(report.missing[1:]) == model.explain_missing([]) == ''


def test_weights_of_a_plain_detector_fill_the_detector():
    source, target = build(SMALL).detector, build(SMALL)
    torch.nn.init.constant_(source.backbone.conv1.weight, 0.5)
    report = load_weights(target, source.state_dict(), 'coco.pth', strict=False)
    assert target.detector.backbone.conv1.weight.unique().tolist() == [0.5]
    assert not report.unexpected and {key.split('.')[0] for key in report.missing} == {'track_head'}
