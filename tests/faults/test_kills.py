"""Training that is killed at random moments, again and again, ends as an unbroken one."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from tests.apis.small_runs import quick
from vispropnet.datasets.moving_shapes import write_moving_shapes

SMALL = 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'


def command(work_dir, data, epochs):
    # A validation takes longer than an epoch here; one at the end is enough.
    options = [f'train_cfg.max_epochs={epochs}', f'train_cfg.val_interval={epochs}']
    options += [f'param_scheduler.1.end={epochs}', 'train_dataloader.num_workers=0']
    return [
        *[sys.executable, '-u', 'tools/train.py', SMALL, '--work-dir', str(work_dir)],
        *['--resume', '--cfg-options', *quick(data), *options],
    ]


def run(root, work_dir, data, epochs, kill=None):
    """Runs the command; ``kill`` is a signal, a line to wait for, and seconds to wait after it."""
    process = subprocess.Popen(
        command(work_dir, data, epochs),
        cwd=root,
        # Several threads add up in another order now and then.
        env=dict(os.environ, PYTHONPATH=str(root)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watch = threading.Timer(300, process.kill)
    watch.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if kill is not None and kill[1] in line:
            time.sleep(kill[2])
            process.send_signal(kill[0])
            kill = None
    watch.cancel()
    return process.wait(), ''.join(lines)


def losses(work_dir):
    """Pairs of an iteration and its loss, also of a log that a kill has cut."""
    pairs = []
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if 'loss' in record:
                    pairs.append((record['iter'], record['loss']))
    return pairs


# Where it is killed: in an iteration, while a checkpoint is being written, and while it starts.
MOMENTS = ('Epoch(train)', 'Saving checkpoint', 'mmengine')


@pytest.mark.parametrize(
    ('kills', 'epochs'), [(2, 4), pytest.param(20, 24, marks=pytest.mark.slow)]
)
def test_killed_again_and_again_it_ends_as_the_unbroken_one(root, tmp_path, kills, epochs):
    data, whole, broken = tmp_path / 'data', tmp_path / 'whole', tmp_path / 'broken'
    write_moving_shapes(data, train_videos=4, val_videos=1, frames=3, size=(96, 64), progress=False)
    code, text = run(root, whole, data, epochs)
    assert code == 0, text[-3000:]
    rng = random.Random(kills)
    for number in range(kills):
        sent = rng.choice([signal.SIGKILL] * 4 + [signal.SIGTERM])
        kill = sent, MOMENTS[number % 3], rng.uniform(0, 0.4)
        code, text = run(root, broken, data, epochs, kill)
        assert code in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM), text[-3000:]
        assert 'Traceback' not in text
    code, text = run(root, broken, data, epochs)
    assert code == 0, text[-3000:]
    ours, unbroken = (
        torch.load(folder / f'epoch_{epochs}.pth', weights_only=False)['state_dict']
        for folder in (broken, whole)
    )
    for name, value in unbroken.items():
        assert torch.equal(ours[name], value), name
    # Iterations that were lost are done twice, alike.
    once = dict(losses(whole))
    assert len(once) == 3 * epochs
    assert {iteration for iteration, _ in losses(broken)} == set(once)
    assert all(loss == pytest.approx(once[iteration]) for iteration, loss in losses(broken))
    assert list(broken.glob('.*tmp*')) == []
