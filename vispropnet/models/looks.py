"""Ways in which a model looks from one frame at another, for analysis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Look:
    """Weights that the cells of a frame give to the cells of another one, the reference.

    Attributes:
        title: Which part of the model looks, and how.
        size: Height and width in cells of the frame that looks.
        stride: Pixels of the network's input per cell, of both frames.
        columns: Gives the weights of some cells, (K,) int64 counted row by row: (h, w, K) over the
            cells of the reference frame, not negative.
        note: What else there is to know of it, in a few words; '' for nothing.
    """

    title: str
    size: Sequence[int]
    stride: int
    columns: Callable[[Tensor], Tensor]
    note: str = ''


@dataclass(frozen=True)
class BoxLook:
    """Places in other frames of a video whose features are read for the cells of a box.

    Attributes:
        title: Which part of the model looks.
        places: (S, h, w, K, 2) x and y, in pixels of the network's input, of the K centres of
            positions in each of S frames, the most similar first.
        stride: Pixels of the network's input per position.
    """

    title: str
    places: Tensor
    stride: int
