"""The study that the trials' tests plan, run and score."""

import pytest

from tests.shared_fixtures import shapes  # noqa: F401
from vispropnet.trials.study_file import read_study


@pytest.fixture(scope='session')
def study(root):
    return read_study(root / 'configs/studies/objprop-trials.py')
