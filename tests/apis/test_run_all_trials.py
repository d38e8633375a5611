"""What is remembered of trials, and what is checked before the first run; nothing is trained."""

import json
import shutil

import pytest

from vispropnet.apis import trials
from vispropnet.datasets.moving_shapes import write_moving_shapes
from vispropnet.errors import UserError


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp('trials') / 'data'
    write_moving_shapes(out, train_videos=2, val_videos=1, frames=2, size=(96, 64), progress=False)
    return out


@pytest.fixture
def plans(monkeypatch):
    """The plans that came to be run, each with what its folder was marked with."""
    seen = []

    def run(plan, slots, lock, say):
        for one in plan.runs.values():
            one.folder.mkdir(parents=True, exist_ok=True)
        return []

    monkeypatch.setattr(trials, 'run_plan', run)
    monkeypatch.setattr(trials, 'report_trials', lambda plan, manifest, _: seen.append(plan))
    return seen


def names(plan):
    return [trial.name for trial in plan.trials]


def manifest_in(out):
    return json.loads((out / 'trials.json').read_text())


def test_what_is_not_said_is_as_it_was_when_last_run(plans, data, tmp_path):
    out = tmp_path / 'out'
    changes = ['model.tracker.label_weight=1.0']
    trials.run_trials('smoke', out, ['ordered'], seeds=2, data=data, overrides=changes)
    trials.run_trials('smoke', out, resume=True)
    first, second = plans
    assert names(first) == names(second) == ['baseline', 'ordered']
    assert first.runs == second.runs and second.overrides == tuple(changes)
    trials.run_trials('smoke', out, ['all'], baseline_seeds=3, resume=True)
    trials.run_trials('smoke', out, resume=True)
    assert names(plans[2]) == names(plans[3]) and len(plans[3].trials) == 12
    assert len(plans[3].runs_of(plans[3].trials[0])) == 3
    assert len(plans[3].runs_of(plans[3].trials[5])) == 2
    assert manifest_in(out)['hardware'] == [trials.this_machine()]


def test_a_refused_command_leaves_no_claim(plans, data, tmp_path):
    out = tmp_path / 'out'
    with pytest.raises(UserError, match='video 9 is not in'):
        trials.run_trials('smoke', out, data=data, attention=['9:0:1:5,5'])
    trials.run_trials('smoke', out, ['ordered'], data=data)
    # Nor does it change what is remembered.
    with pytest.raises(UserError, match='video 9 is not in'):
        trials.run_trials('smoke', out, ['all'], resume=True, attention=['9:0:1:5,5'])
    trials.run_trials('smoke', out, resume=True)
    assert [names(plan) for plan in plans] == [['baseline', 'ordered']] * 2


def test_other_annotations_in_the_same_place_are_refused(plans, data, tmp_path):
    own = tmp_path / 'own'
    shutil.copytree(data, own)
    trials.run_trials('smoke', tmp_path / 'out', data=own)
    moved = tmp_path / 'moved'
    own.rename(moved)
    trials.run_trials('smoke', tmp_path / 'out', data=moved, resume=True)
    annotations = moved / 'valid/instances.json'
    annotations.write_text(annotations.read_text() + '\n')
    with pytest.raises(UserError, match='annotations to test on changed'):
        trials.run_trials('smoke', tmp_path / 'out', data=moved, resume=True)


def test_printing_commands_claims_no_hardware(plans, data, tmp_path, capsys):
    trials.run_trials('smoke', tmp_path / 'out', data=data, print_only=True)
    assert 'baseline/seed-0' in capsys.readouterr().out and not plans
    assert 'hardware' not in manifest_in(tmp_path / 'out')
