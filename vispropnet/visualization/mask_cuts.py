"""The masks of one frame, looked at one by one and around their boxes only.

Legend: H, W the frame; N masks; a box is (x0, y0, x1, y1) in pixels, its end exclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.datasets.run_lengths import decode_counts

Box = tuple[int, int, int, int]


class MaskCuts:
    """Gives boxes, areas and cut-outs of masks, whether they are arrays or encoded.

    Args:
        masks: (N, H, W) bool, or N compressed RLEs.
        height: H.
        width: W.

    Attributes:
        boxes: N boxes, None for an empty mask.
        areas: N areas in pixels.

    Raises:
        ValueError: if a mask is not of the frame's size.
    """

    def __init__(
        self, masks: np.ndarray | Sequence[Mapping[str, Any]], height: int, width: int
    ) -> None:
        dense = isinstance(masks, np.ndarray)
        for size in (mask.shape if dense else mask['size'] for mask in masks):
            if tuple(size) != (height, width):
                raise ValueError(f'masks must be {(height, width)}, got one of {tuple(size)}')
        self._masks = masks.astype(bool, copy=False).view(np.uint8) if dense else masks
        box, area, self._cut = _OF_ARRAYS if dense else _OF_RLES
        self.boxes: list[Box | None] = []
        for x, y, w, h in ([int(side) for side in box(mask)] for mask in self._masks):
            self.boxes.append((x, y, x + w, y + h) if w and h else None)
        self.areas = [int(area(mask)) for mask in self._masks]

    def cut_out(self, index: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Cuts out one mask, with a rim of one empty pixel where the frame has it.

        Args:
            index: Position of a mask that is not empty.

        Returns:
            (h, w) uint8, 1 inside the mask, contiguous; and (x, y) of its upper left corner.
        """
        x0, y0, x1, y1 = self.boxes[index]
        x0, y0 = max(x0 - 1, 0), max(y0 - 1, 0)
        cut = self._cut(self._masks[index], x0, x1 + 1)[y0 : y1 + 1]
        return np.ascontiguousarray(cut), (x0, y0)


def _cut_array(mask, begin, end):
    return mask[:, begin:end]


def _cut_rle(rle, begin, end):
    """Decodes the columns of a box alone: a small part of the time for a large frame."""
    height, width = rle['size']
    end = min(end, width)
    # Runs go down the columns, so that columns lie together.
    ends = np.cumsum(decode_counts(rle['counts']), dtype=np.int64)
    runs = np.diff(np.clip(ends - begin * height, 0, (end - begin) * height), prepend=0)
    inside = np.arange(len(runs), dtype=np.uint8) % 2
    return np.repeat(inside, runs).reshape(end - begin, height).T


_OF_ARRAYS = cv2.boundingRect, cv2.countNonZero, _cut_array
_OF_RLES = mask_utils.toBbox, mask_utils.area, _cut_rle
