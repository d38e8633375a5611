"""Places in a frame, as the cells of features that they are.

Legend: H, W the frame; h, w a level of features in cells; K chosen cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Box = tuple[float, float, float, float]
# (x, y) of a pixel, or the mask of an object: (H, W) bool with at least one pixel.
Place = tuple[float, float] | np.ndarray


def chosen_cells(
    place: Place, size: Sequence[int], stride: int, scale: tuple[float, float]
) -> Tensor:
    """Finds the cells of a place.

    Args:
        place: The cell that holds its position; or those that its mask covers by half, else most.
        size: h and w.
        stride: Pixels of the network's input per cell.
        scale: (x, y) pixels of the network's input per pixel of the frame.

    Returns:
        (K,) int64, counted row by row; K is at least 1.
    """
    if isinstance(place, np.ndarray):
        covered = _coverage(place, size, stride, scale).ravel()
        return torch.from_numpy(np.flatnonzero(covered >= min(0.5, covered.max())))
    column, row = (
        min(int((side + 0.5) * factor / stride), count - 1)
        for side, factor, count in zip(place, scale, size[::-1], strict=True)
    )
    return torch.tensor([row * size[1] + column])


def _coverage(
    mask: np.ndarray, size: Sequence[int], stride: int, scale: tuple[float, float]
) -> np.ndarray:
    """Share of each cell (h, w) that a mask covers."""
    shares = []
    for sides, count, factor in zip(mask.shape, size, scale[::-1], strict=True):
        # (count, sides): how much of each cell each row (or column) of pixels takes.
        edges = np.arange(sides + 1) * factor / stride
        cells = np.arange(count)[:, None]
        shares.append(np.diff(np.clip(edges[None], cells, cells + 1), axis=1))
    return shares[0] @ mask.astype(np.float64) @ shares[1].T
