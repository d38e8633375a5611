"""Arguments of trials that are remembered, and checks before the first run; nothing is trained."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from tests.trials.example import broken_python
from vispropnet.apis import trials
from vispropnet.engine.folder_lock import LOCK, locked_folder
from vispropnet.errors import Stopped, UserError
from vispropnet.fileio import write_json
from vispropnet.trials.study_file import read_study


@pytest.fixture
def run(root, shapes, tmp_path):
    """Runs three trials, or some of them, of the preset smoke."""
    study = read_study(root / 'configs/studies/objprop-trials.py')
    three = ('baseline', 'propagation-off', 'ordered')
    study = replace(study, trials={name: study.trials[name] for name in three})

    def run(only=None, **more):
        return trials.run_trials(study, 'smoke', tmp_path / 'out', only, **{'data': shapes, **more})

    return run


@pytest.fixture
def plans(monkeypatch):
    """The plans that came to be run."""
    seen = []

    def run_plan(plan, slots, lock, say):
        for one in plan.runs.values():
            one.folder.mkdir(parents=True, exist_ok=True)
        return []

    monkeypatch.setattr(trials, 'run_plan', run_plan)
    monkeypatch.setattr(trials, 'report_trials', lambda plan, *_: seen.append(plan))
    return seen


def names(plans):
    return [[trial.name for trial in plan.trials] for plan in plans]


def test_kept_runs_are_read_first_and_what_is_done_is_kept(run, plans, tmp_path, monkeypatch):
    def run_plan(plan, slots, lock, say):
        for one in plan.left():
            one.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            torch.save(dict(state_dict=dict(w=torch.zeros(1))), one.checkpoint)
            write_json(one.results, [])
        return []

    monkeypatch.setattr(trials, 'run_plan', run_plan)
    kept = tmp_path / 'kept'
    run(['ordered'], kept=kept)
    files = sorted(path.relative_to(kept).as_posix() for path in kept.glob('*/*'))
    names = 'baseline/seed-0', 'baseline/seed-1', 'ordered/seed-0'
    assert files == [f'{name}.json.gz' for name in names]
    shutil.rmtree(tmp_path / 'out')
    monkeypatch.setattr(trials, 'run_plan', lambda plan, *_: [] if not plan.left() else 1 / 0)
    run(['ordered'], kept=kept)
    assert all(one.done() for one in plans[1].tested()) and len(plans) == 2
    shutil.rmtree(tmp_path / 'out')

    def stopped(plan, *others):
        run_plan(plan, *others)
        raise Stopped('stopped by SIGTERM.', status=143)

    monkeypatch.setattr(trials, 'run_plan', stopped)
    with pytest.raises(Stopped):
        run(['ordered'], kept=tmp_path / 'other')
    assert len([*(tmp_path / 'other').glob('*/*')]) == 3
    shutil.rmtree(tmp_path / 'out')
    (kept / 'ordered/seed-0.json.gz').write_bytes(b'')
    with pytest.raises(UserError, match='ordered/seed-0.json.gz is damaged or was cut short'):
        run(['ordered'], kept=kept)
    assert [one.name for one in (tmp_path / 'out').iterdir() if one.name != LOCK] == []


def test_arguments_that_are_not_given_are_those_of_the_last_run(run, plans, tmp_path):
    changes = ['model.tracker.label_weight=1.0']
    run(['ordered'], seeds=2, overrides=changes)
    run(resume=True, data=None)
    run(['all'], baseline_seeds=3, resume=True, data=None)
    run(resume=True, data=None)
    first, second, _, last = plans
    every = ['baseline', 'propagation-off', 'ordered']
    assert names(plans) == [['baseline', 'ordered']] * 2 + [every] * 2
    assert first.runs == second.runs and second.arguments['overrides'] == changes
    assert [len(last.runs_of(trial)) for trial in last.trials] == [3, 2, 2]
    manifest = json.loads((tmp_path / 'out/trials.json').read_text())
    known = [manifest[key] for key in ('hardware', 'study')]
    assert known == [[trials.this_machine()], 'objprop-trials']


def test_a_refused_command_leaves_no_claim_and_changes_nothing_remembered(run, plans):
    for first, more in ((['ordered'], {}), (None, dict(resume=True))):
        with pytest.raises(UserError, match='video 9 is not in'):
            run(['all'], attention=['9:0:1:5,5'], **more)
        run(first, **more)
    assert names(plans) == [['baseline', 'ordered']] * 2


def test_other_annotations_in_the_same_place_are_refused(run, plans, own_shapes, tmp_path):
    run(['baseline'], data=own_shapes)
    moved = own_shapes.rename(tmp_path / 'moved')
    run(data=moved, resume=True)
    annotations = moved / 'valid/instances.json'
    annotations.write_text(annotations.read_text() + '\n')
    with pytest.raises(UserError, match='annotations to test on changed'):
        run(data=moved, resume=True)


def test_a_folder_for_printing_in_use_or_of_another_device(run, plans, tmp_path, capsys):
    out = tmp_path / 'out'  # printing commands claims no hardware
    assert run(['propagation-off'], print_only=True) and not plans
    lines = capsys.readouterr().out.splitlines()
    first, *baselines, last = (line for line in lines if line[0] == '#')
    assert [first, last] == ['# start/seed-0', '# propagation-off/seed-0, after baseline/seed-0']
    assert baselines == [
        '# start-head/seed-0, after start/seed-0',
        *(f'# baseline/seed-{seed}, after start-head/seed-0' for seed in (0, 1)),
    ]
    assert 'hardware' not in json.loads((out / 'trials.json').read_text())
    with locked_folder(out), pytest.raises(UserError, match='choose another --out'):
        run(['baseline'])
    assert not plans
    run(['baseline'])
    log = out / 'baseline/seed-0/train/20260101_000000/20260101_000000.log'
    log.parent.mkdir(parents=True)
    log.write_text('    GPU 0: Some GPU 80GB\n')
    with pytest.raises(UserError, match='was run on Some GPU 80GB, and here is'):
        run(resume=True)
    assert run(resume=True, print_only=True)


def test_a_run_that_fails_is_reported_with_those_that_need_it(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('sys.executable', broken_python(tmp_path, 'echo no memory; exit 3'))
    assert run(['propagation-off'], baseline_seeds=1) is False
    text = ''.join(capsys.readouterr())
    assert 'start/seed-0: FAILED in train: no memory' in text and '4 of 4 runs failed' in text
    for name in ('start', 'start-head', 'baseline'):
        assert f'{name}/seed-0, whose weights it takes, failed' in text
    table = json.loads((tmp_path / 'out/table.json').read_text())
    assert [trial['state'] for trial in table['trials']] == ['failed', 'failed']
    # The log of what it would have started from, which is in no table itself.
    assert 'no memory' in table['trials'][0]['failure']['lines']
    assert '**Baseline failed** in needs' in (tmp_path / 'out/table.md').read_text()
    assert 'failed: see the log' in (tmp_path / 'out/report.html').read_text()
