from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tests.visualization.blocks import write_files


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are to be saved; they are not rendered, which takes seconds."""
    figures = []

    def keep(figure, path, **options):
        figures.append(figure)
        Path(path).touch()

    monkeypatch.setattr(Figure, 'savefig', keep)
    return figures


@pytest.fixture
def files(tmp_path):
    """Five videos of three frames (gray 100, 120, 140), of which the second has good results."""
    write_files(tmp_path)
    return tmp_path
