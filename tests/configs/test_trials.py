"""Every trial exists for every data set, differs from its baseline by what it names, and trains."""

import functools

import pytest
import torch

from tests.models.test_masktrack_rcnn import clips_of
from vispropnet.config import load_config
from vispropnet.registry import MODELS
from vispropnet.trials.study_file import read_study

PRESETS = ('cpu', 'gpu', 'ytvis19', 'ytvis21')
HEADS = 'model.detector.roi_head.'
ASSIGNERS = [f'model.detector.train_cfg.{part}.assigner.' for part in ('rcnn', 'rpn')]
ENDS = ('pos_iou_thr', 'neg_iou_thr', 'min_pos_iou')
THRESHOLDS = {one + end for one in ASSIGNERS for end in ENDS}
LAYERS = {HEADS + 'bbox_head.num_shared_fcs', HEADS + 'mask_head.num_convs'}
LAYERS |= {'model.detector.backbone.depth', 'model.track_head.embed_head.num_fcs'}
CHANGED = {
    'tuning-1': LAYERS,
    'tuning-2': {HEADS + 'bbox_head.loss_cls.loss_weight', *THRESHOLDS},
    'ordered': {'train_dataloader.dataset.reference'},
    'additional-training': {'load_from'},
    'attn-neck': {'model.attn_neck'},
    'attn-neck-ordered': {'model.attn_neck', 'train_dataloader.dataset.reference'},
    'attn-neck-reference': {'model.attn_neck'},
    'weighted-affinity': {'model.prop_head.affinity'},
    'category-affinity': {'model.prop_head.affinity'},
}


@pytest.fixture(scope='session')
def config_of(root):
    """The config of a trial with a preset of the study, read once."""
    study = read_study(root / 'configs/studies/objprop-trials.py')

    @functools.cache
    def config_of(preset, trial='baseline'):
        return load_config(root / study.presets[preset].config_of(study.trials[trial]))

    return config_of


def differences(one, other, path=''):
    """Dotted keys by which two nested dicts differ."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return set() if one == other else {path}
    found = set()
    for key in one.keys() | other.keys():
        found |= differences(one.get(key), other.get(key), f'{path}.{key}' if path else key)
    return found


@pytest.mark.parametrize('preset', PRESETS)
@pytest.mark.parametrize('trial', CHANGED)
def test_a_trial_differs_by_what_it_names(config_of, preset, trial):
    baseline, config = config_of(preset), config_of(preset, trial)
    found = differences(baseline.to_dict(), config.to_dict())
    found = {key for key in found if not key.startswith('optim_wrapper.paramwise_cfg')}
    found = {key.split('.affinity')[0] + '.affinity' if 'affinity' in key else key for key in found}
    # Weights to start from are those of its backbone; four layers need the general head.
    allowed = {'load_from', HEADS + 'bbox_head.type'} if trial == 'tuning-1' else set()
    assert found - allowed == CHANGED[trial]
    with torch.device('meta'):
        MODELS.build(config.model)


@pytest.mark.parametrize('trial', CHANGED)
def test_a_small_trial_trains(config_of, trial):
    config = config_of('cpu', trial)
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


@pytest.mark.parametrize('preset', PRESETS)
def test_learnable_mixing_weights_do_not_decay(config_of, preset):
    for trial in ('weighted-affinity', 'category-affinity', 'attn-neck', 'attn-neck-ordered'):
        keys = config_of(preset, trial).optim_wrapper.paramwise_cfg.custom_keys
        name = 'attn_neck.gamma' if 'neck' in trial else 'prop_head.affinity'
        assert keys[name] == dict(decay_mult=0.0)


def test_baseline_follows_the_paper(config_of):
    model = config_of('ytvis19').model
    assert model.recovery.history_length == 24 and model.recovery.mask_threshold == 0.3
    assert model.prop_head.test_sigma == 8.0 and model.prop_head.train_sigma is None
    rpn, rcnn = model.detector.test_cfg.rpn, model.detector.test_cfg.rcnn
    assert (rpn.max_per_img, rcnn.max_per_img, rcnn.score_thr) == (1000, 100, 0.001)
