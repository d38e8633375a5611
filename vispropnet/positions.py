"""Choice of frames and videos by their positions."""

from __future__ import annotations

import numpy as np


def evenly(total: int, count: int) -> list[int]:
    """Picks ``count`` of ``total`` positions, first and last among them."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist()
