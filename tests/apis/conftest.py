import json
import shutil

import pytest

from vispropnet.datasets.moving_shapes import write_moving_shapes

SMALL = 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """A data set of 4 training and 3 validation videos, 3 frames of 96x64 each."""
    root = tmp_path_factory.mktemp('shapes') / 'data'
    write_moving_shapes(root, train_videos=4, val_videos=3, frames=3, size=(96, 64), progress=False)
    return root


@pytest.fixture
def own_shapes(shapes, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(shapes, tmp_path / 'data')


@pytest.fixture
def small(pytestconfig):
    return str(pytestconfig.rootpath / SMALL)


def quick(root, *more):
    """Overrides that make the small config train in seconds."""
    return [
        f'data_root={root}',
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=1',
        'param_scheduler.1.end=2',
        'default_hooks.logger.interval=1',
        'train_dataloader.persistent_workers=False',
        *more,
    ]


def logged(work_dir, key):
    """Values of one figure from all logs of a work dir, in order."""
    lines = []
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        lines += [json.loads(line) for line in path.read_text().splitlines()]
    return [line[key] for line in lines if key in line]
