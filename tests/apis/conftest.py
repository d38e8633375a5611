import shutil

import pytest

from tests.apis.small_runs import SMALL
from vispropnet.datasets.moving_shapes import write_moving_shapes


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
