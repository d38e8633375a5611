"""Which trials there are, on what, and from what they start."""

import re
from dataclasses import replace

import pytest

from vispropnet.config import load_config
from vispropnet.errors import UserError
from vispropnet.trials.catalogue import (
    BASELINE,
    DEEPER_START,
    FIGURES,
    KEEP_EVERY_DETECTION,
    START,
    STARTS,
    TRIALS,
    choose_trials,
)
from vispropnet.trials.presets import PRESETS

NAMES = [trial.name for trial in TRIALS]


def test_the_baseline_is_first_and_names_are_those_of_folders():
    assert NAMES[0] == BASELINE and len(set(NAMES)) == len(NAMES) == 12
    assert all(re.fullmatch('[a-z0-9-]+', name) for name in NAMES)


@pytest.mark.parametrize('preset', PRESETS.values(), ids=lambda preset: preset.name)
def test_every_trial_has_a_config_of_its_own(root, preset):
    configs = [preset.config_of(trial) for trial in (*TRIALS, DEEPER_START) if trial.trains()]
    assert len(set(configs)) == len(configs)
    for config in configs:
        assert (root / config).is_file()
    # What trials start from is trained by the configs of MaskTrack R-CNN.
    assert preset.config_of(START) == preset.config_of(TRIALS[1]) and START in STARTS


def test_the_catalogue_knows_its_configs(root):
    for trial in TRIALS:
        path = root / PRESETS['smoke'].config_of(trial)
        model = load_config(path, [KEEP_EVERY_DETECTION]).model
        assert trial.has_attention == ('prop_head' in model or 'attn_neck' in model), trial.name
        assert model.detector.test_cfg.rcnn.score_thr == 0.0


def test_published_figures_stand_under_their_names():
    by_name = {trial.name: dict(zip(FIGURES, trial.published, strict=False)) for trial in TRIALS}
    assert by_name['baseline'] == dict(AP50=0.5734, AP75=0.3907, AR1=0.375, AR10=0.4519, mAP=0.3551)
    assert by_name['weighted-affinity']['mAP'] == 0.3082
    assert by_name['masktrack-rcnn'] == dict(AP50=None, AP75=0.326, AR1=0.31, AR10=0.355, mAP=0.303)
    # What nobody published.
    for name in ('propagation-off', 'category-affinity', 'attn-neck-reference'):
        assert by_name[name] == {}


def test_the_baseline_joins_whatever_is_chosen():
    chosen = choose_trials(['weighted-affinity', 'ordered', 'ordered'])
    assert [trial.name for trial in chosen] == ['baseline', 'ordered', 'weighted-affinity']
    assert choose_trials(None) == choose_trials(['all']) == list(TRIALS)


def test_an_unknown_trial_is_told_with_those_there_are():
    with pytest.raises(UserError, match="no trial 'weighted'; there are: baseline, masktrack-rcnn"):
        choose_trials(['weighted'])


def test_all_trials_start_from_one_masktrack_rcnn():
    by_name = {trial.name: trial for trial in TRIALS}
    for preset in PRESETS.values():
        for name in ('baseline', 'ordered', 'masktrack-rcnn'):
            assert preset.start_of(by_name[name]) == START.name
        assert preset.start_of(by_name['tuning-1']) == DEEPER_START.name
        assert preset.start_of(by_name['additional-training']) == BASELINE
        assert preset.start_of(START) == preset.start_of(DEEPER_START) == ''
        # Where a preset says so.
        alone = replace(preset, start_epochs=0)
        assert alone.start_of(by_name['ordered']) == ''
        assert alone.start_of(by_name['additional-training']) == BASELINE
