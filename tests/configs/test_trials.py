"""Every trial exists for every data set, differs from its baseline by what it names, and trains."""

import pytest
import torch

from tests.models.test_masktrack_rcnn import clips_of
from vispropnet.config import load_config
from vispropnet.registry import MODELS

BASELINES = {
    'ytvis2019': 'objprop_r50_fpn_1x_ytvis2019',
    'ytvis2021': 'objprop_r50_fpn_1x_ytvis2021',
    'moving-shapes': 'objprop_r18_fpn_2e_moving-shapes',
}
TRIALS = [
    'tuning-1',
    'tuning-2',
    'ordered',
    'additional-training',
    'attn-neck',
    'attn-neck_ordered',
    'attn-neck-reference',
    'weighted-affinity',
    'category-affinity',
]
DEEPER = {'r50': 'r101', 'r18': 'r34'}


def config_of(root, data, trial=None):
    name = BASELINES[data]
    if trial == 'tuning-1':
        shallow = name.split('_')[1]
        name = name.replace(shallow, DEEPER[shallow])
    return load_config(root / f'configs/objprop/{name}{"" if trial is None else "_" + trial}.py')


def differences(one, other, path=''):
    """Dotted keys by which two nested dicts differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = set()
        for key in one.keys() | other.keys():
            here = f'{path}.{key}' if path else key
            found |= differences(one.get(key), other.get(key), here)
        return found
    return set() if one == other else {path}


RCNN = 'model.detector.train_cfg.rcnn.assigner.'
RPN = 'model.detector.train_cfg.rpn.assigner.'
HEADS = 'model.detector.roi_head.'
CHANGED = {
    'tuning-1': {
        'model.detector.backbone.depth',
        HEADS + 'bbox_head.num_shared_fcs',
        HEADS + 'mask_head.num_convs',
        'model.track_head.embed_head.num_fcs',
    },
    'tuning-2': {HEADS + 'bbox_head.loss_cls.loss_weight'}
    | {part + key for part in (RCNN, RPN) for key in ('pos_iou_thr', 'neg_iou_thr', 'min_pos_iou')},
    'ordered': {'train_dataloader.dataset.reference'},
    'additional-training': {'load_from'},
    'attn-neck': {'model.attn_neck'},
    'attn-neck_ordered': {'model.attn_neck', 'train_dataloader.dataset.reference'},
    'attn-neck-reference': {'model.attn_neck'},
    'weighted-affinity': {'model.prop_head.affinity'},
    'category-affinity': {'model.prop_head.affinity'},
}


@pytest.mark.parametrize('data', BASELINES)
@pytest.mark.parametrize('trial', TRIALS)
def test_a_trial_differs_by_what_it_names(root, data, trial):
    baseline, config = config_of(root, data), config_of(root, data, trial)
    found = differences(baseline.to_dict(), config.to_dict())
    found = {key for key in found if not key.startswith('optim_wrapper.paramwise_cfg')}
    found = {key.split('.affinity')[0] + '.affinity' if 'affinity' in key else key for key in found}
    allowed = set()
    if trial == 'tuning-1':
        # Weights to start from are those of its backbone; four layers need the general head.
        allowed = {'load_from', HEADS + 'bbox_head.type'}
    assert found - allowed == CHANGED[trial]
    with torch.device('meta'):
        MODELS.build(config.model)


@pytest.mark.parametrize('trial', TRIALS)
def test_a_small_trial_trains(root, trial):
    config = config_of(root, 'moving-shapes', trial)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = {name: value.clone() for name, value in model.named_parameters()}
    value, _ = model.parse_losses(model.loss(*clips_of()))
    value.backward()
    optimizer.step()
    assert torch.isfinite(value)
    moved = {name for name, one in model.named_parameters() if not torch.equal(one, before[name])}
    unmoved = {'prop_head.affinity.left'} if trial == 'category-affinity' else set()
    for part in ('prop_head', 'attn_neck'):
        own = {name for name in before if name.startswith(part)} - unmoved
        assert own <= moved | {name for name in own if name.endswith('.bias')}


@pytest.mark.parametrize('data', BASELINES)
def test_learnable_mixing_weights_do_not_decay(root, data):
    for trial, name in (
        ('weighted-affinity', 'prop_head.affinity'),
        ('category-affinity', 'prop_head.affinity'),
        ('attn-neck', 'attn_neck.gamma'),
        ('attn-neck_ordered', 'attn_neck.gamma'),
    ):
        keys = config_of(root, data, trial).optim_wrapper.paramwise_cfg.custom_keys
        assert keys[name] == dict(decay_mult=0.0)


def test_baseline_follows_the_paper(root):
    model = config_of(root, 'ytvis2019').model
    assert model.recovery.history_length == 24 and model.recovery.mask_threshold == 0.3
    assert model.prop_head.test_sigma == 8.0 and model.prop_head.train_sigma is None
    assert model.detector.test_cfg.rpn.max_per_img == 1000
    assert model.detector.test_cfg.rcnn.score_thr == 0.001
    assert model.detector.test_cfg.rcnn.max_per_img == 100
