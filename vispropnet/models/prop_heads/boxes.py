"""Boxes as maps, and the boxes of masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def box_maps(boxes: Tensor, size: Sequence[int], stride: int) -> Tensor:
    """Maps that are 1 inside a box and 0 outside.

    A cell is inside if its centre is. The row and the column that hold the box's centre count as
    inside whatever its height and width, so that small and thin objects do not vanish; a box beyond
    the map has none.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        size: Height and width of the maps in cells.
        stride: Pixels per cell.

    Returns:
        (N, height, width) of the boxes' floating type.
    """
    inside = []
    for axis, count in ((1, size[0]), (0, size[1])):
        low, high = boxes[:, axis, None], boxes[:, axis + 2, None]
        cells = torch.arange(count, device=boxes.device)
        centres = (cells + 0.5) * stride
        middle = ((low + high) / 2 / stride).floor()
        inside.append(((low <= centres) & (centres <= high)) | (cells == middle))
    return (inside[0][:, :, None] & inside[1][:, None, :]).to(boxes.dtype)


def mask_boxes(masks: Tensor) -> Tensor:
    """Bounding boxes of masks.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 4) float32 x1, y1, x2, y2 in pixels, the far sides beyond the last pixel; zeros for an
        empty mask.
    """
    sides = []
    for axis in (1, 2):  # (N, W) columns, then (N, H) rows
        hit = masks.any(dim=axis)
        count = hit.shape[1]
        places = torch.arange(count, device=masks.device)
        low = torch.where(hit, places, count).amin(dim=1)
        high = torch.where(hit, places + 1, 0).amax(dim=1)
        sides.append((torch.minimum(low, high), high))
    (left, right), (top, bottom) = sides
    return torch.stack([left, top, right, bottom], dim=1).float()
