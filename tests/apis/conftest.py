import shutil

import pytest

from tests.shared_fixtures import quicker_runs, shapes, small, trained  # noqa: F401


@pytest.fixture
def own_shapes(shapes, tmp_path):  # noqa: F811
    """A copy that a test may damage."""
    return shutil.copytree(shapes, tmp_path / 'data')
