"""Facts that models declare, for generic code."""

import pytest
import torch
from mmengine.config import ConfigDict

from tests.models.small_models import MMDET
from tests.models.small_models import SMALL as MASKTRACK
from tests.models.small_models import SMALL_OBJPROP as OBJPROP
from vispropnet.config import load_config
from vispropnet.engine.acceleration import layers_in_bfloat16
from vispropnet.engine.checkpoints.weights import load_weights
from vispropnet.errors import UserError
from vispropnet.registry import MODELS

CHANGES = ('_attn-neck', '_category-affinity', '_weighted-affinity')
VARIANTS = [OBJPROP.replace('.py', f'{change}.py') for change in CHANGES]
ALL = [MASKTRACK, MMDET, OBJPROP, *VARIANTS]


@pytest.fixture
def build(root):
    """Builds the model of a config, with changes."""

    def built(name, *overrides):
        return MODELS.build(load_config(root / name, overrides).model)

    return built


def hooked(model):
    """Names of the modules that have a hook while layers compute in bfloat16."""
    with layers_in_bfloat16(model):
        return {name for name, one in model.named_modules() if one._forward_hooks}


@pytest.mark.parametrize('name', ALL)
def test_outputs_in_float32_are_those_of_neck_and_heads(build, name):
    model = build(name)
    # The rule by names, which the declarations replaced.
    last = ('neck', 'rpn_head', 'bbox_head', 'mask_head', 'embed_head')
    wanted = {one for one, _ in model.named_modules() if one.rpartition('.')[2] in last}
    assert hooked(model) == wanted and len(wanted) == 5


def as_cascade(config):
    """Makes the RoI head of a model one of two stages, the box and mask heads in lists."""
    roi_head, train_cfg = config.detector.roi_head, config.detector.train_cfg
    roi_head.type = 'CascadeRoIHead'
    roi_head.update(num_stages=2, stage_loss_weights=[1, 0.5])
    for part in ('bbox_head', 'mask_head'):
        roi_head[part] = [roi_head[part], ConfigDict(roi_head[part])]
    train_cfg.rcnn = [train_cfg.rcnn, train_cfg.rcnn]
    return config


def test_each_head_of_a_cascade_counts(root):
    config = as_cascade(load_config(root / MASKTRACK).model)
    config.detector.roi_head.mask_head[1].class_agnostic = False
    model = MODELS.build(config)
    roi = 'detector.roi_head'
    assert hooked(model) == {
        'detector.neck',
        'detector.rpn_head',
        'track_head.embed_head',
        *(f'{roi}.{head}.{number}' for head in ('bbox_head', 'mask_head') for number in (0, 1)),
    }
    assert model.category_counts() == {
        f'{roi}.bbox_head.0': 4,
        f'{roi}.bbox_head.1': 4,
        f'{roi}.mask_head.1': 4,
    }


def test_categories_are_counted_where_they_are_told_apart(build):
    box, mask = 'detector.roi_head.bbox_head', 'detector.roi_head.mask_head'
    by_category = f'model.{mask}.class_agnostic=False'
    # The mask and propagation heads of the small configs treat all categories alike.
    assert build(MASKTRACK).category_counts() == {box: 4}
    assert build(MASKTRACK, by_category).category_counts() == {box: 4, mask: 4}
    assert build(MMDET).category_counts() == {f'model.{box}': 4}
    assert build(OBJPROP).category_counts() == {box: 4}
    by_category = 'model.prop_head.class_agnostic=False'
    assert build(OBJPROP, by_category).category_counts() == {box: 4, 'prop_head': 4}
    assert build(VARIANTS[1]).category_counts() == {box: 4, 'prop_head.affinity': 4}


def test_classifiers_of_encoders_are_not_counted(build):
    model = build(MASKTRACK)
    model.detector.backbone.num_classes = 1000
    assert list(model.category_counts().values()) == [4]


def test_a_checkpoint_without_propagation_head_says_what_to_do(build):
    weights, model = build(MASKTRACK).state_dict(), build(OBJPROP)
    with pytest.raises(UserError) as caught:
        load_weights(model, weights, 'a.pth')
    text = str(caught.value)
    assert 'this config: it has no propagation head (a MaskTrack R-CNN checkpoint?)' in text
    assert '--cfg-options load_from=FILE' in text
    report = load_weights(model, weights, 'a.pth', strict=False)
    assert all(key.startswith('prop_head.') for key in report.missing) and report.missing
    # A part of the head is missing for another reason.
    assert model.explain_missing(report.missing[1:]) == ''
    assert model.explain_missing([]) == ''


def test_weights_of_a_plain_detector_fill_the_detector(build):
    source, target = build(MASKTRACK).detector, build(MASKTRACK)
    torch.nn.init.constant_(source.backbone.conv1.weight, 0.5)
    report = load_weights(target, source.state_dict(), 'coco.pth', strict=False)
    assert target.detector.backbone.conv1.weight.unique().tolist() == [0.5]
    assert not report.unexpected and {key.split('.')[0] for key in report.missing} == {'track_head'}
