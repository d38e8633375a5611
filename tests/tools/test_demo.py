import json
import os
import subprocess
import sys

import cv2

from vispropnet.evaluation.result_file import read_results

QUICK = ['--videos', '4', '--val-videos', '2', '--frames', '2', '--cfg-options']
QUICK += ['train_cfg.max_epochs=1', 'model.detector.test_cfg.rcnn.score_thr=0.0']
QUICK += [f'{part}_dataloader.num_workers=0' for part in ('train', 'val', 'test')]
QUICK += [f'{part}_dataloader.persistent_workers=False' for part in ('train', 'val', 'test')]


def run_demo(pytestconfig, work_dir, *more):
    root = pytestconfig.rootpath
    env = dict(os.environ, PYTHONPATH=str(root))
    command = [sys.executable, 'tools/demo.py', '--work-dir', str(work_dir), *more, *QUICK]
    return subprocess.run(
        command, cwd=root, env=env, capture_output=True, text=True, check=False, timeout=300
    )


def test_demo_leaves_everything_and_trains_once(pytestconfig, tmp_path):
    first = run_demo(pytestconfig, tmp_path)
    assert first.returncode == 0, first.stdout[-2000:] + first.stderr[-2000:]
    assert set(json.loads((tmp_path / 'metrics.json').read_text())) == {
        'mAP',
        'AP50',
        'AP75',
        'AR1',
        'AR10',
    }
    assert {one['video_id'] for one in read_results(tmp_path / 'results.json')} == {1, 2}
    for name in ('contact_sheet.png', 'losses.png'):
        assert cv2.imread(str(tmp_path / name)).std() > 10
        assert str(tmp_path / name) in first.stdout
    trained = (tmp_path / 'checkpoint.pth').stat().st_mtime_ns
    again = run_demo(pytestconfig, tmp_path)
    assert again.returncode == 0 and 'kept' in again.stdout
    assert 'Epoch(train)' in first.stdout and 'Epoch(train)' not in again.stdout
    assert (tmp_path / 'checkpoint.pth').stat().st_mtime_ns == trained


def test_demo_tells_what_failed(pytestconfig, tmp_path):
    done = run_demo(pytestconfig, tmp_path, '--config', 'configs/none.py')
    assert done.returncode == 2
    assert 'config not found: configs/none.py' in done.stderr and 'Traceback' not in done.stderr
