"""The runs of a plan: commands, order, and how far each has come."""

from dataclasses import replace

import pytest

from vispropnet.errors import UserError
from vispropnet.trials.plan import command_of, make_plan, shown, tail_lines


def test_runs_come_after_those_that_they_need(study, tmp_path):
    plan = make_plan(study, 'ytvis19', tmp_path, ['tuning-1', 'additional-training'])
    starts = 'start', 'start-head', 'start-deeper', 'start-deeper-head'
    names = *starts[:2], 'baseline', *starts[2:], 'tuning-1', 'additional-training'
    assert list(plan.runs) == [f'{name}/seed-0' for name in names]
    needs = {'start-head': ('start/seed-0',), 'tuning-1': ('start-deeper-head/seed-0',)}
    assert {name: plan.runs[f'{name}/seed-0'].needs for name in needs} == needs
    assert all(list(plan.runs[f'{name}/seed-0'].steps) == ['train'] for name in starts)
    # What others start from is trained, and in no table.
    assert [one.name for one in plan.trials] == ['baseline', 'tuning-1', 'additional-training']
    train = plan.baseline_run().steps['train']
    assert f'load_from={tmp_path}/start-head/seed-0/train/epoch_12.pth' in train
    assert 'train_dataloader.dataset.ann_file=local/train.json' in train
    assert not any(one.startswith('data_root') for one in train)
    # Seeds stand in commands and folders.
    plan = make_plan(study, 'cpu', tmp_path, ['propagation-off'], seeds=2, baseline_seeds=3)
    # What all start from is the same for every seed.
    counts = {'start': 1, 'start-head': 1, 'baseline': 3, 'propagation-off': 2}
    keys = [f'{name}/seed-{seed}' for name, count in counts.items() for seed in range(count)]
    assert list(plan.runs) == keys
    train = plan.runs['baseline/seed-1'].steps['train']
    assert train[train.index('--seed') + 1] == '1' and '--resume' in train
    assert train[train.index('--work-dir') + 1] == f'{tmp_path}/baseline/seed-1/train'
    needs = {plan.runs[f'baseline/seed-{seed}'].needs for seed in (0, 1, 2)}
    assert needs == {('start-head/seed-0',)}
    # A trial that trains nothing takes the weights of the same seed.
    off = plan.runs['propagation-off/seed-1']
    assert list(off.steps) == ['test'] and off.needs == ('baseline/seed-1',)
    assert off.steps['test'][2] == f'{tmp_path}/baseline/seed-1/train/epoch_1.pth'
    assert 'model.recovery.enabled=False' in off.steps['test']


def test_schedules_of_starts_and_trials_differ(study, tmp_path):
    plan = make_plan(study, 'cpu', tmp_path, ['tuning-1'])
    for name, epochs in (('start', 6), ('start-deeper', 6), ('baseline', 1), ('tuning-1', 1)):
        run = plan.runs[f'{name}/seed-0']
        assert run.epochs == epochs and run.checkpoint.name == f'epoch_{epochs}.pth'
        options = {f'train_cfg.max_epochs={epochs}', f'param_scheduler.1.end={epochs}'}
        assert options <= set(run.steps['train'])
    # The last one given counts, else that of the config.
    plan = make_plan(study, 'cpu', tmp_path, ['ordered'], overrides=['train_cfg.max_epochs=3'])
    run = plan.runs['ordered/seed-0']
    assert run.epochs == 3 and run.checkpoint.name == 'epoch_3.pth'
    given = [one for one in run.steps['train'] if one.startswith('train_cfg.max_epochs')]
    assert given == ['train_cfg.max_epochs=1', 'train_cfg.max_epochs=3']
    assert make_plan(study, 'ytvis21', tmp_path, ['baseline']).baseline_run().epochs == 12
    with pytest.raises(UserError, match='max_epochs=many for .*: expected a whole number'):
        make_plan(study, 'cpu', tmp_path, overrides=['train_cfg.max_epochs=many'])


def test_a_trial_tests_the_weights_of_another_with_its_own_changes(study, tmp_path):
    """Those of the preset come first, then those of the command line, then the trial's."""

    def changed(one, key, **more):
        return replace(one, overrides=(f'{key}=1',), test_overrides=(f'{key}t=1',), **more)

    base = changed(study.trials['ordered'], 'b', name='baseline')
    trials = dict(baseline=base, other=changed(base, 'o', name='other', train_as='baseline'))
    study = replace(study, trials=trials, presets=dict(cpu=changed(study.presets['cpu'], 'p')))
    plan = make_plan(study, 'cpu', tmp_path, overrides=['c=1'])
    train, _ = plan.baseline_run().steps.values()
    assert train[-3:-1] == ['c=1', 'b=1'] and 'p=1' in train
    assert 'pt=1' not in train and 'bt=1' not in train
    (test,) = plan.runs['other/seed-0'].steps.values()
    assert test[2] == f'{tmp_path}/baseline/seed-0/train/epoch_1.pth'
    assert test[-6:-1] == ['p=1', 'c=1', 'pt=1', 'o=1', 'ot=1']
    # What is in no table is not tested.
    plan = make_plan(replace(study, baseline='other'), 'cpu', tmp_path, ['other'])
    assert [list(run.steps) for run in plan.runs.values()] == [*[['train']] * 3, ['test']]


def test_the_command_gives_the_table_and_its_options_hold_the_paths(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = replace(study, path=tmp_path / 'my.py')
    plan = make_plan(study, 'cpu', 'work_dirs/trials/cpu', seeds=2, baseline_seeds=3)
    command = 'python tools/run_trials.py --study my.py --preset cpu'
    assert command_of(plan) == f'{command} --seeds 2 --baseline-seeds 3 --data-seed 0'
    plan = make_plan(study, 'cpu', tmp_path / 'a', ['ordered'], data='my data', overrides=['a.b=1'])
    seeds, more = '--seeds 1 --baseline-seeds 1', "--data 'my data' --cfg-options a.b=1"
    assert command_of(plan) == f'{command} --out a --only ordered {seeds} {more}'
    assert shown(tmp_path / 'a/b') == shown('a/b') == 'a/b'
    assert shown('/elsewhere/a') == '/elsewhere/a'
    for option, out, data in (('--out', 'a,b', None), ('--data', 'out', "a'b")):
        with pytest.raises(UserError, match=f"^{option}: .* has a [,'], which options cannot hold"):
            make_plan(study, 'cpu', tmp_path / out, data=data)


def test_a_run_goes_from_training_to_test_to_done(study, tmp_path):
    plan = make_plan(study, 'smoke', tmp_path, ['ordered'])
    start, head, baseline, run = plan.runs.values()
    pointer = run.folder / 'train/last_checkpoint'
    pointer.parent.mkdir(parents=True)
    assert run.left() == ['train', 'test'] and run.share_done() == 0
    # A quarter of two epochs; test is a tenth of all.
    log = 'Epoch(train)  [1][ 50/100]  lr: 1\nEpoch(val) [1][3/4]'
    for text, share in ((log, 0.9 * 0.25), (f'{log}\nEpoch(train)  [2][100/100]  lr: 1', 0.9)):
        run.log('train').write_text(text)
        assert run.share_done() == pytest.approx(share)
    # A named checkpoint may be gone; one that is there may be still being written.
    pointer.write_text('epoch_2.pth')
    assert run.next_step() == 'train'
    run.checkpoint.write_bytes(b'weights')
    for named, left in (('epoch_1.pth', ['train', 'test']), ('epoch_2.pth', ['test'])):
        pointer.write_text(f'somewhere/{named}\n')
        assert run.left() == left
    assert run.share_done() == pytest.approx(0.9) and plan.left() == [start, head, baseline, run]
    run.results.write_text('[]')
    assert run.next_step() is None and run.share_done() == 1
    assert plan.left() == [start, head, baseline]
    baseline.folder.mkdir(parents=True)
    baseline.results.write_text('[]')
    # What others start from is not needed any more; its weights may have been removed.
    assert start.next_step() == head.next_step() == 'train' and plan.left() == []
    # The last lines of a log.
    log = tmp_path / 'log'
    log.write_text('one\n\ntwo  \n' + 'x' * 5000 + '\nthree\n\n')
    assert tail_lines(log, 1) == ['three'] and tail_lines(tmp_path / 'none', 3) == []
