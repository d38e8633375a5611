from pathlib import Path

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are to be saved; they are not rendered, which takes seconds."""
    figures = []

    def keep(figure, path, **options):
        figures.append(figure)
        Path(path).touch()

    monkeypatch.setattr(Figure, 'savefig', keep)
    return figures
