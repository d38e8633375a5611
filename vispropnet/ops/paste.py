"""Pasting small masks into their boxes, without a picture of the frame's size for each.

Legend: N masks; M the side of a small mask in cells; H, W the frame. A window is the part of the
frame around a box, (width, height + 1) column by column, as run-length encoding goes; its last row
is empty, so that no run goes on in the next column.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vispropnet.ops.transfer import to_device


@dataclass(frozen=True)
class Window:
    """A mask in its part of the frame.

    Args:
        bits: (width, height + 1) bool, column by column; the last row is empty.
        left: Column of the frame that the first column is.
        top: Row of the frame that the first row is.
    """

    bits: Tensor
    left: int
    top: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.bits.shape[0]

    @property
    def height(self) -> int:
        """Rows, without the empty one."""
        return self.bits.shape[1] - 1


def paste(
    probabilities: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float
) -> list[Window]:
    """Enlarges small masks to their boxes and thresholds them (Mask R-CNN, section 3).

    Bilinear, cell centres as sampling points, nothing beyond the map: what mmdet's
    ``_do_paste_mask`` gives over the whole frame. Pixels can only differ where the enlarged value
    is within 1e-5 of the threshold, since sums are made in another order. A box without width or
    height has an empty mask; mmdet gives it a few pixels.

    Args:
        probabilities: (N, M, M') in [0, 1].
        boxes: (N, 4) x1, y1, x2, y2 in pixels of the frame.
        size: Height and width of the frame in pixels.
        threshold: A pixel belongs to the mask if its value is at least this; above 0.

    Returns:
        N windows, on the device of the probabilities.
    """
    if len(boxes) == 0:
        return []
    height, width = size
    # Autocast would make half precision of the products.
    with torch.no_grad(), torch.autocast(probabilities.device.type, enabled=False):
        boxes = boxes.detach().float()
        cells = torch.nn.functional.pad(probabilities.detach().float(), (1, 1, 1, 1))
        left, right = _spans(boxes[:, 0::2], probabilities.shape[2], width, threshold)
        top, bottom = _spans(boxes[:, 1::2], probabilities.shape[1], height, threshold)
        # One copy to the host for all windows.
        spans = torch.stack([left, right, top, bottom], dim=1).tolist()
        columns = _columns(boxes[:, 0::2], spans, probabilities.shape[2])
        rows = _rows(cells, boxes[:, 1::2], spans, probabilities.shape[1])
        return _multiply(columns, rows, spans, threshold)


def paste_soft(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Places small masks in their boxes as :func:`paste` does, without a threshold.

    For maps of a few thousand cells: each mask gets all of one.

    Args:
        probabilities: (N, M, M') in [0, 1].
        boxes: (N, 4) x1, y1, x2, y2 in cells of the map. One without area is nowhere.
        size: Height and width of the map in cells.

    Returns:
        (N, height, width) float32 in [0, 1].
    """
    with torch.autocast(probabilities.device.type, enabled=False):
        boxes = boxes.float()
        grids = []
        for axis, count in enumerate((size[1], size[0])):
            low, high = boxes[:, axis, None], boxes[:, axis + 2, None]
            centres = torch.arange(count, device=boxes.device) + 0.5
            # Not 0: places would not be finite.
            grids.append((centres - low) / (high - low).clamp(min=1e-6) * 2 - 1)
        x, y = grids
        places = torch.stack(
            [x[:, None, :].expand(-1, size[0], -1), y[:, :, None].expand(-1, -1, size[1])], dim=3
        )
        placed = torch.nn.functional.grid_sample(
            probabilities.float()[:, None], places, align_corners=False
        )[:, 0]
        return placed * (boxes[:, 2:] > boxes[:, :2]).all(dim=1)[:, None, None]


def _spans(sides: Tensor, cells: int, limit: int, threshold: float) -> tuple[Tensor, Tensor]:
    """First pixel and the one behind the last that can reach the threshold, (N,) int64 each.

    Beyond the box a value falls to nothing within half a cell.
    """
    low, high = sides.double().nan_to_num(0.0).unbind(dim=1)
    reach = max(0.5 - threshold, 0.0) * (high - low) / cells
    first = (low - reach - 0.5).floor().clamp(0, limit)
    last = ((high + reach - 0.5).ceil() + 1).clamp(0, limit)
    last = torch.where(high > low, torch.maximum(first, last), first)
    return first.long(), last.long()


def _places(
    sides: Tensor, spans: list[list[int]], axis: int, cells: int, extra: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of the pixels of all windows between the cells of their masks.

    ``sides`` (N, 2) are the low and high sides of the boxes, along columns (``axis`` 0 in a span)
    or rows (2); ``extra`` pixels that lie nowhere are added behind each window's last one. Gives of
    all P pixels, window by window: the mask (P,), the padded cell before (P,), and the weights
    (P, 2) of that cell and the next.
    """
    first, last = torch.tensor(spans)[:, axis : axis + 2].t()
    counts = last - first + extra
    mask = torch.repeat_interleave(torch.arange(len(spans)), counts)
    pixel = torch.arange(len(mask)) + (first - (counts.cumsum(0) - counts))[mask]
    inside = pixel < last[mask]
    mask, pixel, inside = (to_device(one, sides.device) for one in (mask, pixel, inside))
    low, high = sides[mask].unbind(dim=1)
    # In the order of operations of mmdet and grid_sample, so that rounding is the same.
    grid = (pixel.float() + 0.5 - low) / (high - low) * 2 - 1
    place = ((grid + 1) * cells - 1) / 2
    before = place.floor()
    after_weight = place - before
    weights = torch.stack([1 - after_weight, after_weight], dim=1)
    # What is not finite is not inside.
    inside &= (before >= -1) & (before <= cells - 1)
    weights = torch.where(inside[:, None], weights, torch.zeros_like(weights))
    return mask, torch.where(inside, before + 1, 0).long(), weights


def _columns(sides: Tensor, spans: list[list[int]], cells: int) -> list[Tensor]:
    """Weight of each padded cell for each column of pixels: per window (width, cells + 2)."""
    _, before, weights = _places(sides, spans, 0, cells, extra=0)
    dense = weights.new_zeros(len(before), cells + 2)
    dense.scatter_(1, torch.stack([before, before + 1], dim=1), weights)
    return dense.split([right - left for left, right, _, _ in spans])


def _rows(cells: Tensor, sides: Tensor, spans: list[list[int]], count: int) -> list[Tensor]:
    """The masks enlarged downwards only: per window (height + 1, cells + 2)."""
    mask, before, weights = _places(sides, spans, 2, count, extra=1)
    values = cells[mask, before] * weights[:, :1] + cells[mask, before + 1] * weights[:, 1:]
    return values.split([bottom - top + 1 for _, _, top, bottom in spans])


def _multiply(
    columns: list[Tensor], rows: list[Tensor], spans: list[list[int]], threshold: float
) -> list[Window]:
    sizes = [len(one) * len(other) for one, other in zip(columns, rows, strict=True)]
    # One buffer for all: large ones are slow to get.
    values = rows[0].new_empty(max(sizes))
    bits = torch.empty(sum(sizes), dtype=torch.bool, device=values.device).split(sizes)
    windows = []
    for across, down, own, (left, _, top, _) in zip(columns, rows, bits, spans, strict=True):
        shape = len(across), len(down)
        own = own.view(shape)
        value = values[: own.numel()].view(shape)
        torch.mm(across, down.t(), out=value)
        torch.ge(value, threshold, out=own)
        windows.append(Window(own, left, top))
    return windows
