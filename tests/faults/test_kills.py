"""Training that is killed at random moments, again and again, ends as an unbroken one."""

import contextlib
import json
import random
import signal
import time

import pytest
import torch

from tests.processes import Tool
from tests.small_runs import quick


def run(small, work_dir, data, epochs, kill=None):
    """Trains; ``kill`` is a signal, a line to wait for, and seconds to wait after it."""
    # A validation takes longer than an epoch here; one at the end is enough.
    options = [f'train_cfg.max_epochs={epochs}', f'train_cfg.val_interval={epochs}']
    options.append(f'param_scheduler.1.end={epochs}')
    command = ['tools/train.py', small, '--work-dir', work_dir, '--resume', '--cfg-options']
    tool, lines = Tool(*command, *quick(data, *options)), []
    for line in tool.output:
        lines.append(line)
        if kill is not None and kill[1] in line:
            time.sleep(kill[2])
            with contextlib.suppress(ProcessLookupError):
                tool.send_signal(kill[0])
            kill = None
    return tool.wait()[0], ''.join(lines)


def losses(work_dir):
    """Pairs of an iteration and its loss, also of a log that a kill has cut."""
    records = []
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                records.append(json.loads(line))
    return [(one['iter'], one['loss']) for one in records if 'loss' in one]


# Where it is killed: in an iteration, while a checkpoint is being written, and while it starts.
MOMENTS = ('Epoch(train)', 'Saving checkpoint', 'mmengine')


@pytest.mark.parametrize(
    'kills',
    [pytest.param(2, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.long)],
)
def test_killed_again_and_again_it_ends_as_the_unbroken_one(shapes, small, tmp_path, kills):
    whole, broken, epochs = tmp_path / 'whole', tmp_path / 'broken', {2: 4, 20: 48}[kills]
    code, text = run(small, whole, shapes, epochs)
    assert code == 0, text[-3000:]
    rng = random.Random(kills)
    for number in range(kills):
        sent = rng.choice([signal.SIGKILL] * 4 + [signal.SIGTERM])
        kill = sent, MOMENTS[number % 3], rng.uniform(0, 0.2)
        code, text = run(small, broken, shapes, epochs, kill)
        assert code in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM), text[-3000:]
        assert 'Traceback' not in text
    code, text = run(small, broken, shapes, epochs)
    assert code == 0, text[-3000:]
    paths = (folder / f'epoch_{epochs}.pth' for folder in (broken, whole))
    ours, unbroken = (torch.load(path, weights_only=False)['state_dict'] for path in paths)
    for name, value in unbroken.items():
        assert torch.equal(ours[name], value), name
    # Iterations that were lost are done twice, alike.
    once = dict(losses(whole))
    assert len(once) == 3 * epochs
    assert {iteration for iteration, _ in losses(broken)} == set(once)
    assert all(loss == pytest.approx(once[iteration]) for iteration, loss in losses(broken))
    assert list(broken.glob('.*tmp*')) == []
