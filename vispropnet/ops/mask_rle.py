"""Run-length encoding of masks that are held in windows of the frame, many at once.

The result is that of pycocotools' ``encode`` on the whole frame, byte by byte, but only the windows
are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

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
    if not windows:
        return []
    height, width = int(size[0]), int(size[1])
    starts, ends, masks = _runs(bits_on_host(windows), windows, height)
    counts, first = _counts(starts, ends, masks, len(windows), height * width)
    return [{'size': [height, width], 'counts': text} for text in compress_counts(counts, first)]


def compress_counts(counts: np.ndarray, first: np.ndarray) -> list[str]:
    """Writes run lengths in the compressed form of cocoapi (``rleToString``).

    From the fourth run of a mask on, the difference to the run before the last is written, as a
    number in groups of five bits, the lowest first, each as one character from '0' on, 32 more if
    another group follows.

    Args:
        counts: (R,) run lengths of all masks, one mask after the other.
        first: (N,) where each mask's runs begin; each has at least one.

    Returns:
        N texts.
    """
    numbers = counts.astype(np.int64)
    place = np.arange(len(counts)) - np.repeat(first, np.diff(first, append=len(counts)))
    later = np.flatnonzero(place > 2)
    numbers[later] -= counts[later - 2]
    # d groups hold the numbers from -(2^(5d-1)) to 2^(5d-1) - 1.
    magnitude = np.where(numbers < 0, ~numbers, numbers)
    groups = np.ones(len(numbers), np.int64)
    for digits in range(1, 7):
        groups += magnitude >= 1 << (5 * digits - 1)
    ends = np.cumsum(groups)
    begins = ends - groups
    characters = np.empty(ends[-1], np.uint8)
    for digit in range(int(groups.max())):
        has = np.flatnonzero(groups > digit)
        group = numbers[has] >> (5 * digit) & 0x1F
        characters[begins[has] + digit] = group + 48 + 32 * (groups[has] > digit + 1)
    text = characters.tobytes().decode('ascii')
    borders = [*begins[first].tolist(), len(text)]
    return [text[begin:end] for begin, end in zip(borders, borders[1:], strict=False)]


def bits_on_host(windows: Sequence[Window]) -> list[np.ndarray]:
    """The bits of each window (P,) bool."""
    if not windows:
        return []
    bits = [window.bits.reshape(-1) for window in windows]
    if bits[0].device.type != 'cpu':
        # One copy for all.
        bits = torch.cat(bits).cpu().split([len(one) for one in bits])
    return [one.numpy() for one in bits]


def _runs(
    bits: Sequence[np.ndarray], windows: Sequence[Window], height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the runs: first pixel and the one behind the last, counted down the frame's columns.

    Args:
        bits: Of each window.
        windows: Where they are.
        height: Of the frame.

    Returns:
        Starts (R,), ends (R,), and the mask that each run belongs to (R,).
    """
    # Every column ends with an empty pixel, so starts and ends take turns. Window by window, since
    # what fits the processor's cache is faster.
    changes = [_changes(one) for one in bits]
    masks = np.repeat(np.arange(len(bits)), [len(some) for some in changes])
    table = np.array([(window.left, window.top, window.height + 1) for window in windows])
    left, top, rows = table[masks].T
    column, row = np.divmod(np.concatenate(changes), rows)
    pixels = (column + left) * height + row + top
    starts, ends, masks = pixels[0::2], pixels[1::2], masks[0::2]
    # In a window as high as the frame a run may go on at the top of the next column.
    on = np.flatnonzero((ends[:-1] == starts[1:]) & (masks[:-1] == masks[1:]))
    return np.delete(starts, on + 1), np.delete(ends, on), np.delete(masks, on)


def _changes(bits: np.ndarray) -> np.ndarray:
    """Positions of pixels that are not as the one before, the first one if it is set."""
    changes = bits.copy()
    changes[1:] ^= bits[:-1]
    return np.flatnonzero(changes)


def _counts(
    starts: np.ndarray, ends: np.ndarray, masks: np.ndarray, total: int, pixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Run lengths (C,) of background and object in turn, and where each mask's begin (total,)."""
    runs = np.bincount(masks, minlength=total)
    upto = np.cumsum(runs)
    last = np.full(total, -1)
    last[runs > 0] = ends[upto[runs > 0] - 1]
    closing = last != pixels  # background goes on to the frame's end
    length = 2 * runs + closing
    begins = np.cumsum(length) - length
    edges = np.empty(int(length.sum()), np.int64)
    place = 2 * np.arange(len(starts)) + (np.cumsum(closing) - closing)[masks]
    edges[place], edges[place + 1] = starts, ends
    edges[(begins + length - 1)[closing]] = pixels
    counts = np.diff(edges, prepend=0)
    counts[begins] = edges[begins]
    return counts, begins
