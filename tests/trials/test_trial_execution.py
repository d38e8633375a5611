"""Scheduling of runs, with small scripts in the place of training and test."""

import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from vispropnet.engine.folder_lock import locked_folder
from vispropnet.errors import Stopped
from vispropnet.trials import execution
from vispropnet.trials.execution import command_lines, run_plan
from vispropnet.trials.plan import Plan, Run
from vispropnet.trials.study_file import Preset, Study, Trial

# Write what a training or a test leaves, and a line into a diary.
NOTE = """
import os, pathlib, sys
folder, gpu = pathlib.Path(sys.argv[1]), os.environ.get('CUDA_VISIBLE_DEVICES')
with open(folder.parent.parent / 'diary', 'a') as diary:
    print(STEP, folder.parent.name, gpu, file=diary)
"""
TRAINED = """
log = folder / 'train/20260101_000000/vis_data/scalars.json'
log.parent.mkdir(parents=True, exist_ok=True)
log.write_text('{"loss": LOSS, "iter": 50}')
(folder / 'train/epoch_2.pth').write_text('weights')
(folder / 'train/last_checkpoint').write_text('epoch_2.pth')
"""
TRAIN = NOTE.replace('STEP', "'train'") + TRAINED.replace('LOSS', '1.5')
DIVERGE = TRAIN.replace('1.5', 'NaN')
TEST = NOTE.replace('STEP', "'test'") + "(folder / 'results.json').write_text('[]')\n"
# What outlives the command keeps the folder locked.
HOLDS_THE_LOCK = """
import os, sys
files = filter(os.path.exists, (f'/dev/fd/{number}' for number in range(3, 999)))
same = [os.path.samefile(file, sys.argv[1] + '/../../.lock') for file in files]
print('holds the lock:', any(same))
"""
FAIL = "print('working'); print('RuntimeError: out of memory'); raise SystemExit(3)"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(execution, '_POLL_SECONDS', 0.02)


def scripted_plan(tmp_path, scripts, **needs):
    """A plan of trials by name, whose training runs a script; test follows. Gives its runs too."""
    study, preset = Study(tmp_path / 'study.py', 'a', {}, {}), Preset('tiny', 'small')
    plan = Plan(study, preset, tmp_path, None, {})
    for name, script in scripts.items():
        folder = tmp_path / name / 'seed-0'
        steps = {'train': ['-c', script, str(folder)], 'test': ['-c', TEST, str(folder)]}
        wanted = (f'{needs[name]}/seed-0',) if name in needs else ()
        run = Run(Trial(name), 0, folder, wanted, steps, folder / 'train/epoch_2.pth', 2)
        plan.runs[run.key] = run
    return plan, *plan.runs.values()


def work(plan, *slots):
    said = []
    with locked_folder(plan.out) as lock:
        failed = run_plan(plan, slots or [''], lock, said.append)
    return failed, said


def failure(run):
    return json.loads(run.failure.read_text())


def diary(tmp_path):
    return (tmp_path / 'diary').read_text().replace(' None', '').splitlines()


def test_runs_go_from_training_to_test_and_are_not_done_twice(tmp_path):
    plan, _, b = scripted_plan(tmp_path, dict(a=TRAIN, b=TRAIN), b='a')
    failed, said = work(plan)
    assert failed == [] and said[0] == '2 runs, 0 of them done; 1 at a time'
    assert diary(tmp_path) == ['train a', 'test a', 'train b', 'test b']
    assert work(plan) == ([], ['2 runs, 2 of them done; 1 at a time'])
    # A test that was cut short is done again, its training and what it needs are not.
    b.results.unlink()
    assert work(plan)[0] == [] and diary(tmp_path)[4:] == ['test b']


def test_a_failure_is_marked_the_others_go_on_and_it_is_tried_again(tmp_path):
    scripts = dict(a=FAIL, b=TRAIN, c=TRAIN, d=HOLDS_THE_LOCK)
    plan, a, b, c, d = scripted_plan(tmp_path, scripts, c='a')
    # What is whole on disk counts, however its process ended.
    b.steps['test'][1] += 'raise SystemExit(3)'
    failed, said = work(plan)
    assert failed == [a.key, c.key, d.key] and b.done() and not c.log('train').exists()
    lines = ['working', 'RuntimeError: out of memory']
    assert failure(a).items() >= dict(step='train', exit=3, lines=lines).items()
    assert any('FAILED in train: RuntimeError: out of memory' in line for line in said)
    assert failure(c)['lines'] == [*lines, 'a/seed-0, whose weights it takes, failed']
    words = f'it ended without an error, and without {d.checkpoint}'
    assert failure(d)['lines'] == ['holds the lock: True', words]
    plan, a = scripted_plan(tmp_path, dict(a=TRAIN))
    assert work(plan)[0] == [] and not a.failure.exists()


def test_a_loss_that_is_no_number_fails_the_trial_also_when_resumed(tmp_path):
    for _ in range(2):
        plan, a, b, c = scripted_plan(tmp_path, dict(a=DIVERGE, b=TRAIN, c=TRAIN), c='a')
        assert set(work(plan)[0]) == {a.key, c.key}
        assert failure(a)['lines'][-1] == 'the loss is not a finite number at iteration 50'
        assert b.results.exists() and not a.results.exists() and not c.results.exists()
    # It is not trained a second time.
    assert diary(tmp_path).count('train a') == 1
    # A queue of a cluster trains and tests without looking at the losses.
    for command in (a.steps['test'], *c.steps.values()):
        subprocess.run([sys.executable, *command], check=True)
    assert work(plan)[0] == [a.key, c.key]
    assert a.results.exists() and not a.done() and not c.done()


def test_runs_get_the_gpu_of_a_slot_and_wait_for_what_they_need(tmp_path):
    work(scripted_plan(tmp_path, dict(a=TRAIN, b=TRAIN, c=TRAIN), a='c')[0], '3', '5')
    trained = [line.split()[1:] for line in diary(tmp_path) if 'train' in line]
    assert sorted(trained[:2]) == [['b', '3'], ['c', '5']]
    assert trained[2] in (['a', '3'], ['a', '5'])


def test_commands_for_a_queue_are_what_is_left_and_need_weights_that_are_there(tmp_path):
    plan, a, b = scripted_plan(tmp_path, dict(a=TRAIN, b=TRAIN), b='a')
    first, commands, second, _ = command_lines(plan)
    assert [first, second] == [f'# {a.key}', f'# {b.key}, after {a.key}']
    train, test = (['python', *one] for one in a.steps.values())
    assert shlex.split(commands) == [*train, '&&', *test]
    a.folder.mkdir(parents=True)
    a.results.write_text('[]')
    assert command_lines(plan)[0] == f'# {b.key}'
    # Its weights are gone, which is reported instead of waited for.
    assert work(plan)[0] == [b.key]
    words = f'{a.key}, whose weights it takes, is done, but its weights are gone'
    assert failure(b)['lines'] == [words]


def work_and_wait(tmp_path):
    """Runs a training that takes long and writes which process it is; ends as the tools do."""
    # Begun in the background of a shell, Python would ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sleep = "import os, sys, time; open(sys.argv[1] + '/pid', 'w').write(str(os.getpid())); "
    try:
        work(scripted_plan(tmp_path, dict(a=sleep + 'time.sleep(100)'))[0])
    except Stopped as stopped:
        (tmp_path / 'message').write_text(str(stopped))
        sys.exit(stopped.status)


def gone(pid):
    try:
        with open(f'/proc/{pid}/stat') as stat:
            return stat.read().rpartition(')')[2].split()[0] == 'Z'
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems cannot tell a child')
@pytest.mark.parametrize(('how', 'status'), [('SIGKILL', -9), ('SIGTERM', 143), ('SIGINT', 130)])
def test_no_training_outlives_the_command(tmp_path, how, status):
    parent = multiprocessing.get_context('fork').Process(target=work_and_wait, args=[tmp_path])
    parent.start()
    file = tmp_path / 'a/seed-0/pid'
    end = time.monotonic() + 60
    while not (file.exists() and file.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    child = int(file.read_text())
    assert not gone(child)
    os.kill(parent.pid, getattr(signal, how))
    parent.join(30)
    assert parent.exitcode == status
    if how != 'SIGKILL':
        words = f'stopped by {how}. The same command with --resume goes on where the runs are.'
        assert (tmp_path / 'message').read_text() == words
    while not gone(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert gone(child)
    with locked_folder(tmp_path):
        pass  # free again
