"""Every trial of every study that is shipped has a model that builds, in training and at test."""

from pathlib import Path

import pytest
import torch

from vispropnet.config import load_config
from vispropnet.registry import MODELS
from vispropnet.trials.plan import make_plan
from vispropnet.trials.study_file import read_study

STUDIES = sorted(Path(__file__).parents[2].glob('configs/studies/*.py'))


@pytest.mark.slow
@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
def test_all_trials_build(root, tmp_path, path):
    study = read_study(path)
    preset = 'cpu' if 'cpu' in study.presets else next(iter(study.presets))
    plan = make_plan(study, preset, tmp_path)
    assert {run.trial.name for run in plan.runs.values()} == {*study.starts, *study.trials}
    built = set()
    for run in plan.runs.values():
        config = str(root / plan.preset.config_of(run.trial))
        for options in (plan.training_options(run.trial), plan.test_options(run.trial)):
            model = load_config(config, options).model
            if str(model) not in built:
                built.add(str(model))
                with torch.device('meta'):
                    MODELS.build(model)
    assert len(built) > 1
