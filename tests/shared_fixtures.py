"""Fixtures for several folders of tests, made once for all workers of pytest-xdist."""

import fcntl
import functools
import os
import shutil

import pytest

from tests.small_runs import NARROW, SMALL, hastened, quick
from vispropnet.datasets.moving_shapes import write_moving_shapes


def once_for_all_workers(tmp_path_factory, name, make):
    """Has ``make(folder)`` fill a folder unless another worker has; tests leave it as it is."""
    base = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        base = base.parent
    folder, done = base / name, base / f'{name}.done'
    with open(base / f'{name}.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """A data set of 2 training and 3 validation videos, 3 frames of 96x64 each."""

    sizes = dict(train_videos=2, val_videos=3, frames=3, size=(96, 64))
    make = functools.partial(write_moving_shapes, **sizes, progress=False)
    return once_for_all_workers(tmp_path_factory, 'shapes', make)


@pytest.fixture(scope='session')
def small(root, tmp_path_factory):
    """The config of a narrow MaskTrack R-CNN that keeps all detections."""

    def make(folder):
        folder.mkdir()
        (folder / 'small.py').write_text(NARROW.format(base=str(root / SMALL)))

    return str(once_for_all_workers(tmp_path_factory, 'small', make) / 'small.py')


@pytest.fixture(scope='session')
def trained(shapes, small, tmp_path_factory):
    """A work dir with two epochs of the quick training, each validated."""
    from vispropnet.apis.training import train

    def make(folder):
        with hastened():
            train(small, folder, overrides=quick(shapes))

    return once_for_all_workers(tmp_path_factory, 'trained', make)


@pytest.fixture(scope='module', autouse=True)
def quicker_runs():
    with hastened():
        yield
