"""Several ranks: more of them than videos, one that fails, one that is stopped."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from tests.processes import run_ranks, run_tool
from tests.small_runs import quick
from vispropnet.datasets.moving_shapes import write_moving_shapes


def launch(root, tool, small, *arguments):
    """Starts a tool in two ranks with torchrun."""
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    command = [*launcher, f'tools/{tool}.py', small, '--launcher', 'pytorch', *arguments]
    options = dict(cwd=root, env=dict(os.environ, PYTHONPATH=str(root)), text=True)
    options.update(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return subprocess.Popen([sys.executable, *map(str, command)], **options)


@pytest.mark.parametrize(
    'ranks', [4, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 2, 3))]
)
def test_any_number_of_ranks_gives_the_same_results(shapes, small, trained, tmp_path, ranks):
    """The three videos are not the same number for each of 2 ranks, and fewer than 4."""
    command = ['tools/test_video.py', small, trained / 'epoch_2.pth', '--out']
    options = ['--cfg-options', *quick(shapes), f'work_dir={tmp_path}']
    status, text = run_tool(*command, tmp_path / 'alone.json', *options)
    assert status == 0, text[-3000:]
    ends = run_ranks(ranks, *command, tmp_path / 'ranks.json', *options)
    assert [status for status, _ in ends] == [0] * ranks, ends
    content = (tmp_path / 'alone.json').read_bytes()
    assert len({track['video_id'] for track in json.loads(content)}) == 3
    assert (tmp_path / 'ranks.json').read_bytes() == content


@pytest.mark.slow
def test_when_one_rank_fails_the_others_end_with_its_error(root, small, trained, tmp_path):
    """The frame that is missing is of one of two videos, and so of one of two ranks."""
    data = tmp_path / 'data'
    write_moving_shapes(data, train_videos=1, val_videos=2, frames=3, size=(96, 64), progress=False)
    gone = sorted((data / 'valid/JPEGImages').glob('*/*.jpg'))[-1]
    gone.unlink()
    out = tmp_path / 'results.json'
    options = ['--out', out, '--cfg-options', *quick(data), f'work_dir={tmp_path}']
    process = launch(root, 'test_video', small, trained / 'epoch_2.pth', *options)
    # No rank waits for the one that is gone: collectives would do so for half an hour.
    text = process.communicate(timeout=300)[0]
    assert process.returncode not in (0, None), text[-3000:]
    assert f'({gone}): the file is listed in the annotation file but does not exist' in text
    assert not out.exists()
    # The launcher's own traceback is the only one; it names no line of ours.
    assert f'{root}/vispropnet/' not in text and f'{root}/tools/' not in text


@pytest.mark.slow
def test_ranks_that_are_stopped_save_one_state_and_resume(root, small, shapes, tmp_path):
    # Workers too: launchers send signals to the whole process group of a rank.
    more = ['train_cfg.max_epochs=4', 'train_cfg.val_begin=5', 'train_dataloader.batch_size=1']
    more += ['train_dataloader.num_workers=1', 'train_dataloader.persistent_workers=True']
    whole, stopped = tmp_path / 'whole', tmp_path / 'stopped'
    rest = ['--resume', '--cfg-options', *quick(shapes, *more)]
    runs = [['--work-dir', folder, *rest] for folder in (whole, stopped)]
    ends = run_ranks(2, 'tools/train.py', small, *runs[0])
    assert [status for status, _ in ends] == [0, 0], ends
    process = launch(root, 'train', small, *runs[1])
    next(line for line in process.stdout if 'Epoch(train)' in line)
    # To the launcher, as a cluster does; it forwards the signal.
    process.send_signal(signal.SIGTERM)
    text = ''.join(process.stdout)
    assert process.wait(300) != 0
    assert 'interrupted.pth: continue with --resume' in text[-6000:]
    assert (stopped / 'interrupted.pth').exists()
    (status, text), (other, _) = run_ranks(2, 'tools/train.py', small, *runs[1])
    assert (status, other) == (0, 0), text[-3000:]
    assert 'the epoch is resumed after' in text or 'resumed epoch: ' in text
    paths = stopped / 'epoch_4.pth', whole / 'epoch_4.pth'
    ours, wanted = (torch.load(path, weights_only=False)['state_dict'] for path in paths)
    for name, value in wanted.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)
