"""The command as users run it: training, test, scores, report; killed and resumed; refusals."""

import json
import random
import shutil
import signal
import subprocess
import time

import pytest

from tests.processes import start_python
from vispropnet.trials.study_file import read_study

# One trial, of one training, on the smallest videos; the baseline takes its weights.
STUDY = """
baseline = 'few'
trials = dict(
    few=dict(train_as='plain', test_overrides=['model.detector.test_cfg.rcnn.max_per_img=1']),
    plain=dict(title='Plain <b>', config='configs/objprop/objprop_r18_fpn_2e_moving-shapes.py'),
)
presets = dict(
    tiny=dict(
        about='one training',
        shapes=dict(preset='occlusion', videos=4, val_videos=2, frames=3, size=(96, 64)),
        overrides=['default_hooks.logger.interval=1'],
        train_overrides=['train_cfg.val_begin=3', 'param_scheduler.0.end=2'],
        test_overrides=['model.detector.test_cfg.rcnn.score_thr=0.0'],
    ),
)
"""


def start(out, *more):
    return start_python('tools/run_trials.py', '--out', out, *more, stderr=subprocess.STDOUT)


def run(out, *more):
    process = start(out, *more)
    text = process.communicate(timeout=1200)[0]
    return process.returncode, text


def iterations(out):
    return sum(log.read_text().count('Epoch(train)') for log in out.glob('*/seed-*/train.log'))


def table_of(out):
    table = json.loads((out / 'table.json').read_text())
    return {trial['name']: trial for trial in table['trials']}


@pytest.mark.slow
def test_a_study_is_trained_tested_scored_and_reported(tool, root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    study, out = tmp_path / 'my-study.py', tmp_path / 'out'
    study.write_text(STUDY)
    kept = tmp_path / 'kept'
    asked = ['--study', study, '--preset', 'tiny', '--baseline-seeds', '1', '--kept', kept]
    command = [*asked, '--out', out]
    code, text, progress = tool(*command)
    assert code == 0 and '2 runs, 0 of them done' in progress, progress
    trials = table_of(out)
    assert {trial['state'] for trial in trials.values()} == {'done'}
    assert trials['few']['parameters'] == trials['plain']['parameters'] > 10**6
    assert trials['few']['train_s_per_frame'] is None
    assert trials['plain']['train_s_per_frame'] > 0 and trials['plain']['test_s_per_frame'] > 0
    results = [out / f'{name}/seed-0/results.json' for name in trials]
    few, plain = (len(json.loads(path.read_text())) for path in results)
    assert 0 < few < plain
    page = (out / 'report.html').read_text()
    assert 'Plain &lt;b&gt;' in page and '://' not in page and 'id="attention"' not in page
    assert (out / 'differences.png').exists()
    assert (out / 'losses.svg').exists() and f'--study {study}' in text
    # What is done is not done again.
    before = [path.stat().st_mtime_ns for path in results]
    code, _, progress = tool(*command, '--resume', '--attention', '1:1:0:20,20')
    assert code == 0 and '2 runs, 2 of them done' in progress
    assert before == [path.stat().st_mtime_ns for path in results]
    assert '<strong>Plain &lt;b&gt;: ' in (out / 'report.html').read_text()
    # The table comes from what was kept, without the folder.
    assert sum(path.stat().st_size for path in kept.glob('*/seed-0.json.gz')) < 2**20
    table = table_of(out)
    shutil.rmtree(out)
    code, text, progress = tool(*asked, '--out', tmp_path / 'again')
    assert code == 0 and '2 runs, 2 of them done' in progress
    assert table_of(tmp_path / 'again') == table and f'--kept {kept}' in text


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Folder and output of an unbroken run of every trial."""
    out = tmp_path_factory.mktemp('smoke') / 'trials'
    code, text = run(out, '--preset', 'smoke')
    assert code == 0, text[-3000:]
    return out, text


@pytest.mark.long
def test_every_trial_goes_through_training_test_score_and_report(root, whole):
    out, text = whole
    trials = table_of(out)
    study = read_study(root / 'configs/studies/objprop-trials.py')
    assert list(trials) == list(study.trials)
    assert {trial['state'] for trial in trials.values()} == {'done'}
    # The matrix of 64 channels and nothing else; the neck's two convolutions and its weight.
    baseline = trials['baseline']['parameters']
    sizes = {name: trial['parameters'] - baseline for name, trial in trials.items()}
    assert sizes['weighted-affinity'] == 64**2 and sizes['attn-neck'] == 2 * (64 * 64 * 9 + 64) + 1
    assert sizes['ordered'] == sizes['tuning-2'] == 0 and sizes['masktrack-rcnn'] < 0
    assert trials['baseline']['seeds'] == [0, 1] and '23 runs, 0 of them done' in text
    # Maps of all that can look at other frames; no other data are mixed in.
    code, text = run(out, '--preset', 'smoke', '--resume', '--attention', '1:1:0:20,20')
    assert code == 0 and '15 runs, 15 of them done' in text
    assert 'no attention map of 1:1:0:20,20 for masktrack-rcnn' in text
    page = (out / 'report.html').read_text()
    assert '<strong>Attention neck: ' in page and len(page) < 20e6
    assert all(trial.title in page for trial in study.trials.values())
    code, text = run(out, '--preset', 'smoke', '--resume', '--data-seed', '1')
    assert code == 2 and '--seed 0 then' in text and '--seed 1 now' in text


@pytest.mark.long
def test_killed_twice_it_ends_with_the_same_table(whole, tmp_path):
    out = tmp_path / 'trials'
    options = ['--preset', 'smoke', '--only', 'weighted-affinity', '--baseline-seeds', '1']
    for kill, status in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        # A moment after something was trained.
        before, process = iterations(out), start(out, *options, '--resume')
        while iterations(out) == before and process.poll() is None:
            time.sleep(0.1)
        time.sleep(random.Random(0).uniform(0, 2))
        process.send_signal(kill)
        text = process.communicate()[0]
        assert process.returncode == status, text[-3000:]
    code, text = run(out, *options, '--resume')
    assert code == 0, text[-3000:]
    unbroken, resumed = table_of(whole[0]), table_of(out)
    # One seed of the baseline here, two there: metrics are compared by seed.
    for name in ('baseline', 'weighted-affinity'):
        for metric, one in resumed[name]['figures'].items():
            assert one['by_seed']['0'] == unbroken[name]['figures'][metric]['by_seed']['0']
        assert resumed[name]['errors'] == unbroken[name]['errors']
        results = f'{name}/seed-0/results.json'
        content = (out / results).read_bytes()
        assert content == (whole[0] / results).read_bytes()
        # Not equal for being empty.
        assert len(json.loads(content)) > 10


def test_mistakes_are_reported_before_the_first_trial(tool, root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    for options, words in (
        (['--preset', 'tiny'], 'invalid choice'),
        (['--study', 'none.py', '--preset', 'cpu'], 'study not found: none.py'),
        (['--only', 'weighted'], "no trial 'weighted'; there are: baseline"),
        (['--seeds', '0'], '--seeds must be 1 or more, got 0'),
        (['--data-seed', '-1'], '--data-seed must be 0 or more, got -1'),
        (['--data', 'nowhere'], 'data of train are missing: nowhere/train/instances.json'),
        (['--cfg-options', 'modell.x=1'], "has no key 'modell'. Did you mean 'model'?"),
        # What has to be downloaded is reported with how to get it.
        (['--preset', 'ytvis21', '--data', 'nowhere'], 'tools/split_ytvis.py nowhere/train/inst'),
    ):
        code, _, errors = tool('--preset', 'smoke', '--out', tmp_path / 'out', *options)
        assert code == 2 and words in errors
    assert not any(tmp_path.rglob('results.json'))
