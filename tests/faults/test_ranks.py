"""Several ranks: more of them than videos, one that fails, one that is told to stop."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from tests.apis.small_runs import quick
from vispropnet.datasets.moving_shapes import write_moving_shapes

SMALL = 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """Three validation videos: not the same number for each of 2 ranks, and fewer than 4."""
    root = tmp_path_factory.mktemp('shapes') / 'data'
    write_moving_shapes(root, train_videos=4, val_videos=3, frames=3, size=(96, 64), progress=False)
    return root


def start(root, ranks, tool, *arguments):
    launcher = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={ranks}']
    command = [sys.executable, *(launcher if ranks else []), f'tools/{tool}.py', SMALL]
    command += [*map(str, arguments[: arguments.index('--cfg-options')])]
    command += ['--launcher', 'pytorch'] if ranks else []
    command += map(str, arguments[arguments.index('--cfg-options') :])
    return subprocess.Popen(
        command,
        cwd=root,
        env=dict(os.environ, PYTHONPATH=str(root)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def options(shapes, *more):
    return ['--cfg-options', *quick(shapes, 'train_dataloader.num_workers=0', *more)]


@pytest.fixture(scope='module')
def trained(root, shapes, tmp_path_factory):
    """A checkpoint of one epoch."""
    work_dir = tmp_path_factory.mktemp('trained')
    more = ['train_cfg.max_epochs=1', 'train_cfg.val_begin=2']
    process = start(root, 0, 'train', '--work-dir', work_dir, *options(shapes, *more))
    text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text[-3000:]
    return work_dir / 'epoch_1.pth'


def results(root, shapes, trained, folder, ranks):
    out = folder / f'{ranks}.json'
    # Everything that is found, so that there is something to compare.
    more = ['model.detector.test_cfg.rcnn.score_thr=0.0', f'work_dir={folder}']
    process = start(root, ranks, 'test_video', trained, '--out', out, *options(shapes, *more))
    text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text[-3000:]
    return out.read_bytes()


@pytest.fixture(scope='module')
def alone(root, shapes, trained, tmp_path_factory):
    """The result file of one process."""
    content = results(root, shapes, trained, tmp_path_factory.mktemp('alone'), 0)
    assert len({track['video_id'] for track in json.loads(content)}) == 3
    return content


@pytest.mark.parametrize(
    'ranks', [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3))]
)
def test_any_number_of_ranks_gives_the_same_results(root, shapes, trained, alone, tmp_path, ranks):
    assert results(root, shapes, trained, tmp_path, ranks) == alone


def test_when_one_rank_fails_the_others_end_with_its_error(root, shapes, trained, tmp_path):
    """The frame that is gone is of one of two videos, and so of one of two ranks."""
    data = tmp_path / 'data'
    write_moving_shapes(data, train_videos=1, val_videos=2, frames=3, size=(96, 64), progress=False)
    gone = sorted((data / 'valid/JPEGImages').glob('*/*.jpg'))[-1]
    gone.unlink()
    out = tmp_path / 'results.json'
    arguments = [trained, '--out', out, *options(data, f'work_dir={tmp_path}')]
    process = start(root, 2, 'test_video', *arguments)
    # No rank waits for the one that is gone: collectives would do so for half an hour.
    text = process.communicate(timeout=300)[0]
    assert process.returncode not in (0, None), text[-3000:]
    assert f'({gone}): the file is listed in the annotation file but does not exist' in text
    assert not out.exists()
    # The launcher's own traceback is the only one; it names no line of ours.
    assert f'{root}/vispropnet/' not in text and f'{root}/tools/' not in text


def test_ranks_that_are_told_to_stop_save_one_state_and_go_on(root, shapes, tmp_path):
    # Workers too: launchers send signals to the whole process group of a rank.
    more = ['train_cfg.val_begin=3', 'train_dataloader.batch_size=2']
    more += ['train_dataloader.num_workers=1', 'train_dataloader.persistent_workers=True']
    work_dirs = [tmp_path / name for name in ('whole', 'stopped')]
    runs = [['--work-dir', work_dir, '--resume', *options(shapes, *more)] for work_dir in work_dirs]
    process = start(root, 2, 'train', *runs[0])
    text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text[-3000:]
    process = start(root, 2, 'train', *runs[1])
    lines = []
    for line in process.stdout:
        lines.append(line)
        if 'Epoch(train)' in line:
            # To the launcher, as a cluster does; it tells the ranks.
            process.send_signal(signal.SIGTERM)
            break
    lines += process.stdout
    assert process.wait(300) != 0
    assert 'interrupted.pth: --resume goes on from there' in ''.join(lines)[-6000:]
    assert (work_dirs[1] / 'interrupted.pth').exists()
    process = start(root, 2, 'train', *runs[1])
    text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text[-3000:]
    assert 'the epoch goes on after' in text or 'resumed epoch: 1' in text
    whole, stopped = (
        torch.load(work_dir / 'epoch_2.pth', weights_only=False)['state_dict']
        for work_dir in work_dirs
    )
    for name, value in whole.items():
        torch.testing.assert_close(stopped[name], value, rtol=1e-4, atol=1e-5)
