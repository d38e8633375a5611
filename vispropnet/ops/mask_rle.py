"""Run-length encoding of masks that are held in windows of the frame.

The result is that of pycocotools' ``encode`` on the whole frame, byte by byte, but only the windows
are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_utils

from vispropnet.ops.paste import Window

RLE = dict[str, Any]


def encode_windows(windows: Sequence[Window], size: tuple[int, int]) -> list[RLE]:
    """Run-length encodes masks.

    Args:
        windows: N masks in their windows, all on one device.
        size: Height and width of the frame in pixels.

    Returns:
        N compressed RLEs ``{'size': [H, W], 'counts': str}``.
    """
    size = [int(side) for side in size]
    plain = [
        {'size': size, 'counts': _run_lengths(bits, window, *size)}
        for window, bits in zip(windows, bits_on_host(windows), strict=True)
    ]
    compressed = mask_utils.frPyObjects(plain, *size) if plain else []
    return [{'size': [*size], 'counts': rle['counts'].decode()} for rle in compressed]


def bits_on_host(windows: Sequence[Window]) -> list[np.ndarray]:
    """The bits of each window (P,) bool, on the CPU."""
    bits = [window.bits.reshape(-1) for window in windows]
    if bits and bits[0].device.type != 'cpu':
        # One copy for all.
        bits = torch.cat(bits).cpu().split([len(one) for one in bits])
    return [one.numpy() for one in bits]


def _run_lengths(bits: np.ndarray, window: Window, height: int, width: int) -> list[int]:
    """Pixels of background and object in turn, down the columns of the frame."""
    # Every column ends with an empty pixel, so starts of runs and what is behind them take turns.
    changes = np.flatnonzero(np.diff(bits, prepend=False))
    column, row = np.divmod(changes, window.height + 1)
    edges = (column + window.left) * height + row + window.top
    # In a window as high as the frame a run may go on at the top of the next column.
    on = np.flatnonzero(edges[1:] == edges[:-1])
    edges = np.delete(edges, [*on, *(on + 1)])
    counts = np.diff(edges, prepend=0, append=height * width).tolist()
    return counts[:-1] if counts[-1] == 0 else counts
