"""The command as users run it: every trial, killed and gone on with, and what it refuses."""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time

import pytest

from vispropnet.trials.catalogue import TRIALS

ONLY = 'weighted-affinity'


def start(root, out, *more):
    command = [sys.executable, 'tools/run_trials.py', '--preset', 'smoke', '--out', str(out), *more]
    env = dict(os.environ, PYTHONPATH=str(root))
    return subprocess.Popen(
        command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(root, out, *more):
    process = start(root, out, *more)
    text = process.communicate(timeout=1200)[0]
    return process.returncode, text


@pytest.fixture(scope='module')
def whole(root, tmp_path_factory):
    """Folder and output of an unbroken run of every trial."""
    out = tmp_path_factory.mktemp('smoke') / 'trials'
    code, text = run(root, out)
    assert code == 0, text[-3000:]
    return out, text


def iterations(out):
    return sum(log.read_text().count('Epoch(train)') for log in out.glob('*/seed-*/train.log'))


def wait_for_training(process, out):
    """Waits until something is trained that was not yet."""
    before = iterations(out)
    while iterations(out) == before and process.poll() is None:
        time.sleep(0.1)


def table_of(out):
    table = json.loads((out / 'table.json').read_text())
    return {trial['name']: trial for trial in table['trials']}


def test_every_trial_goes_through_training_test_score_and_report(whole):
    out, text = whole
    trials = table_of(out)
    assert list(trials) == [trial.name for trial in TRIALS]
    for trial in trials.values():
        assert trial['state'] == 'done' and trial['failure'] is None
        assert 0 <= trial['figures']['mAP']['mean'] <= 1 and trial['parameters'] > 10**6
        assert trial['test_s_per_frame'] > 0
        assert (trial['train_s_per_frame'] is None) == (trial['name'] == 'propagation-off')
    # The matrix of 64 channels and nothing else; the neck's two convolutions and its weight.
    sizes = {
        name: trial['parameters'] - trials['baseline']['parameters']
        for name, trial in trials.items()
    }
    assert sizes[ONLY] == 64**2 and sizes['attn-neck'] == 2 * (64 * 64 * 9 + 64) + 1
    assert sizes['ordered'] == sizes['tuning-2'] == 0 and sizes['masktrack-rcnn'] < 0
    assert trials['baseline']['seeds'] == [0, 1]
    assert 'Between seeds and between trials' in text and '15 runs, 0 of them done' in text
    page = (out / 'report.html').read_text()
    assert len(page) < 20e6 and all(trial.title in page for trial in TRIALS)
    assert 'https://' not in page and 'http://' not in page


def test_killed_twice_it_ends_with_the_same_table(whole, root, tmp_path):
    out = tmp_path / 'trials'
    options = ['--only', ONLY, '--baseline-seeds', '1']
    rng = random.Random(0)
    for kill in (signal.SIGKILL, signal.SIGTERM):
        process = start(root, out, *options, '--resume')
        wait_for_training(process, out)
        time.sleep(rng.uniform(0, 3))
        process.send_signal(kill)
        text = process.communicate()[0]
        if kill is signal.SIGKILL:
            assert process.returncode == -kill, 'it was done before'
        else:
            assert process.returncode == 143, text[-3000:]
            assert 'stopped by SIGTERM. The same command with --resume goes on' in text
    code, text = run(root, out, *options, '--resume')
    assert code == 0, text[-3000:]
    unbroken, resumed = table_of(whole[0]), table_of(out)
    # One seed of the baseline here, two there: figures are compared by seed.
    for name in ('baseline', ONLY):
        for figure, one in resumed[name]['figures'].items():
            assert one['by_seed']['0'] == unbroken[name]['figures'][figure]['by_seed']['0']
        assert resumed[name]['errors'] == unbroken[name]['errors']
        results = f'{name}/seed-0/results.json'
        content = (out / results).read_bytes()
        assert content == (whole[0] / results).read_bytes()
        # Not equal for being empty.
        assert len(json.loads(content)) > 10


def test_what_is_done_is_skipped_and_not_mixed(whole, root):
    out, _ = whole
    before = {path: path.stat().st_mtime_ns for path in out.glob('*/seed-*/results.json')}
    code, text = run(root, out, '--resume', '--attention', '1:1:0:20,20')
    assert code == 0 and '15 runs, 15 of them done' in text
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert 'Attention neck: ' in (out / 'report.html').read_text()
    code, text = run(root, out, '--resume', '--attention', '9:1:0:20,20')
    assert code == 2 and 'video 9 is not in' in text
    code, text = run(root, out)
    assert code == 2 and '--resume goes on with them' in text and 'Traceback' not in text
    code, text = run(root, out, '--resume', '--data-seed', '1')
    assert code == 2 and '--seed 0 then' in text and '--seed 1 now' in text
    code, text = run(root, out, '--resume', '--cfg-options', 'model.tracker.label_weight=1.0')
    assert code == 2 and 'config of additional-training, attn-neck' in text


def test_a_trial_that_fails_is_marked_and_the_others_are_scored(root, tmp_path):
    options = ['--only', 'propagation-off', '--baseline-seeds', '1', '--cfg-options']
    code, text = run(root, tmp_path / 'a', *options, 'train_dataloader.batch_size=0')
    assert code == 1 and 'start/seed-0: FAILED in train' in text
    assert 'start/seed-0, whose weights it takes, failed' in text
    assert 'baseline/seed-0, whose weights it takes, failed' in text
    table = table_of(tmp_path / 'a')
    assert {trial['state'] for trial in table.values()} == {'failed'}
    # The log of what it would have started from, which is in no table itself.
    assert any('batch_size' in line for line in table['baseline']['failure']['lines'])
    assert '**Baseline failed** in needs' in (tmp_path / 'a/table.md').read_text()


def test_commands_are_printed_alone(root, tmp_path):
    done = subprocess.run(
        [sys.executable, 'tools/run_trials.py', '--preset', 'smoke', '--only', 'propagation-off']
        + ['--out', tmp_path / 'a', '--print-commands'],
        cwd=root,
        env=dict(os.environ, PYTHONPATH=str(root)),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[::2] == [
        '# start/seed-0',
        *(f'# baseline/seed-{seed}, after start/seed-0' for seed in (0, 1)),
        '# propagation-off/seed-0, after baseline/seed-0',
    ]
    assert all(shlex.split(line)[:2][0] == 'python' for line in lines[1::2])
    assert (tmp_path / 'a/data/train/instances.json').exists()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--only', 'weighted'], "no trial 'weighted'; there are: baseline"),
        (['--seeds', '0'], '--seeds must be 1 or more, got 0'),
        (['--data-seed', '-1'], '--data-seed must be 0 or more, got -1'),
        (['--data', 'nowhere'], 'data of train are missing: nowhere/train/instances.json'),
        (['--cfg-options', 'modell.x=1'], "has no key 'modell'. Did you mean 'model'?"),
    ],
)
def test_mistakes_are_told_before_the_first_trial(root, tmp_path, options, words):
    code, text = run(root, tmp_path / 'out', *options)
    assert code == 2 and words in text and 'Traceback' not in text


def test_missing_youtube_vis_is_told_with_how_to_get_it(root, tmp_path):
    command = [sys.executable, 'tools/run_trials.py', '--preset', 'ytvis21', '--out', tmp_path]
    command += ['--data', tmp_path / 'none']
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'data of train are missing' in done.stderr and 'tools/split_ytvis.py' in done.stderr
