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
        plain = isinstance(masks, np.ndarray)
        self._encoded = not plain and all(isinstance(mask, Mapping) for mask in masks)
        self._size = (height, width)
        self._check(masks)
        self._masks = masks if self._encoded else np.asarray(masks, dtype=bool).view(np.uint8)
        find = _encoded_box if self._encoded else _box
        self.boxes: list[Box | None] = [find(mask) for mask in self._masks]
        if self._encoded:
            self.areas = [int(mask_utils.area(mask)) for mask in masks]
        else:
            self.areas = [
                cv2.countNonZero(self.cut_out(index)[0]) if box else 0
                for index, box in enumerate(self.boxes)
            ]

    def __len__(self) -> int:
        return len(self._masks)

    def cut_out(self, index: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Cuts out one mask, with a rim of one empty pixel where the frame has it.

        Args:
            index: Position of a mask that is not empty.

        Returns:
            (h, w) uint8, 1 inside the mask, contiguous; and (x, y) of its upper left corner.
        """
        x0, y0, x1, y1 = self.boxes[index]
        x0, y0 = max(x0 - 1, 0), max(y0 - 1, 0)
        x1, y1 = min(x1 + 1, self._size[1]), min(y1 + 1, self._size[0])
        if self._encoded:
            cut = decode_columns(self._masks[index], x0, x1)[y0:y1]
        else:
            cut = self._masks[index, y0:y1, x0:x1]
        return np.ascontiguousarray(cut), (x0, y0)

    def _check(self, masks):
        wanted = (len(masks), *self._size)
        if not self._encoded:
            found = np.shape(masks)
            if found != wanted:
                raise ValueError(f'masks must be (N, H, W) = {wanted}, got {found}')
            return
        for mask in masks:
            if tuple(mask['size']) != self._size:
                raise ValueError(f'masks must be {self._size}, got an RLE of {mask["size"]}')


def _box(mask):
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _encoded_box(rle):
    x, y, w, h = mask_utils.toBbox(rle).astype(int).tolist()
    return (x, y, x + w, y + h) if w and h else None


def decode_columns(rle: Mapping[str, Any], begin: int, end: int) -> np.ndarray:
    """Decodes some columns of a mask, which takes a small part of decoding a large frame.

    Args:
        rle: Compressed RLE.
        begin: The first column.
        end: Behind the last column.

    Returns:
        (H, end - begin) uint8, 1 inside the mask.
    """
    height = rle['size'][0]
    # Runs go down the columns, so that columns lie together.
    ends = np.cumsum(decode_counts(rle['counts']), dtype=np.int64)
    runs = np.diff(np.clip(ends - begin * height, 0, (end - begin) * height), prepend=0)
    inside = np.arange(len(runs), dtype=np.uint8) % 2
    return np.repeat(inside, runs).reshape(end - begin, height).T
