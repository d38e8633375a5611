import json
import os
import runpy
import signal
import time

import cv2
import pytest

from tests.processes import run_tool, start_python
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import read_results

SHAPES = ['--preset', 'easy', '--videos', '4', '--frames', '2', '--val-videos', '2', '--seed', '0']
QUICK = ['train_cfg.max_epochs=1', 'model.detector.test_cfg.rcnn.score_thr=0.0']
WORKERS = '{0}_dataloader.num_workers=0 {0}_dataloader.persistent_workers=False'
QUICK += [one for part in ('train', 'val', 'test') for one in WORKERS.format(part).split()]


@pytest.mark.slow
def test_demo_leaves_everything_and_trains_once(root, tmp_path):
    command = ['tools/demo.py', '--work-dir', tmp_path, *SHAPES, '--cfg-options', *QUICK]
    process = start_python(*command)
    process.stdout.readline()
    status, text = run_tool(*command)
    in_use = f'error: folder {tmp_path} is in use by process {process.pid} on '
    assert status == 2 and text.startswith(in_use)
    failed = run_tool('tools/demo.py', '--work-dir', tmp_path / 'a', '--config', 'configs/none.py')
    assert failed == (2, 'error: config not found: configs/none.py\n')
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out[-2000:] + err[-2000:]
    assert 'Epoch(train)' in out
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert set(metrics) == {'mAP', 'AP50', 'AP75', 'AR1', 'AR10'}
    assert {one['video_id'] for one in read_results(tmp_path / 'results.json')} == {1, 2}
    for name in ('contact_sheet.png', 'losses.png'):
        assert cv2.imread(str(tmp_path / name)).std() > 10
        assert str(tmp_path / name) in out
    # Again: what is there is kept.
    again, kept = start_python(*command), 0
    for line in again.stdout:
        kept += '(kept' in line
        if 'test_video.py' in line:
            again.terminate()
    assert again.wait(60) == 143 and kept == 2
    checkpoint = tmp_path / 'checkpoint.pth'
    # Another recipe removes both first.
    demo = runpy.run_path(str(root / 'tools/demo.py'))
    with pytest.raises(UserError, match='the command above failed'):
        demo['train'](['no such tool'], 'another', tmp_path / 'train', checkpoint, anew=False)
    assert os.listdir(tmp_path / 'train') == ['recipe.json'] and not checkpoint.exists()


# Runs a command as the demo does.
PARENT = """
import runpy, signal, sys
demo = runpy.run_path('tools/demo.py')
signal.signal(signal.SIGTERM, demo['stop'])
with demo['report_user_errors']():
    demo['run']([sys.argv[1]], show='ready')
"""

# Ends on a signal as training does, after it has written down which.
CHILD = """
import pathlib, signal, sys, time
def end(number, frame):
    time.sleep(0.2)
    pathlib.Path(__file__).with_suffix('.tmp').write_text(signal.Signals(number).name)
    pathlib.Path(__file__).with_suffix('.tmp').rename(pathlib.Path(__file__).with_suffix('.txt'))
    sys.exit(1)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
print('ready', flush=True)
time.sleep(60)
"""


def test_what_the_demo_runs_ends_with_it(tmp_path):
    noted = tmp_path / 'child.txt'
    (tmp_path / 'child.py').write_text(CHILD)
    for sent, received, status, said in (
        ('SIGTERM', 'SIGINT', 143, 'stopped by SIGTERM; the same command resumes the demo.\n'),
        ('SIGINT', 'SIGTERM', 130, 'interrupted\n'),
        ('SIGKILL', 'SIGTERM', -9, ''),
    ):
        process = start_python('-c', PARENT, tmp_path / 'child.py')
        for line in process.stdout:
            if line == 'ready\n':
                process.send_signal(signal.Signals[sent])
        assert process.wait(20) == status and process.stderr.read() == said
        # Nobody waits for the child of a process that was killed.
        for _ in range(200 if sent == 'SIGKILL' else 0):
            time.sleep(0 if noted.exists() else 0.1)
        assert noted.read_text() == received
        noted.unlink()


def test_a_signal_while_the_demo_forks_is_not_lost(tmp_path):
    """Python drops exceptions that are raised in what it calls after a fork."""
    fork = 'import os, signal\nsend = lambda: signal.raise_signal(signal.SIGTERM)\n'
    fork += 'os.register_at_fork(after_in_parent=send)\n'
    (tmp_path / 'child.py').write_text('import time; print("ready", flush=True); time.sleep(60)')
    process = start_python('-c', fork + PARENT, tmp_path / 'child.py')
    assert process.wait(20) == 143 and process.stderr.read().startswith('stopped by SIGTERM')
