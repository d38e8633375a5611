"""Places chosen in a frame: checks of them, and the cells of features that they are.

Legend: H, W the frame; h, w a level of features in cells; K chosen cells. Boxes
are (x0, y0, x1, y1) in pixels of the frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_utils
from torch import Tensor

from vispropnet.errors import UserError
from vispropnet.models.prop_heads.boxes import box_maps

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Choice:
    """A place in the current frame: exactly one of three.

    Args:
        position: (x, y) of a pixel.
        box: A box.
        mask: (H, W) bool.
    """

    position: tuple[float, float] | None = None
    box: Box | None = None
    mask: np.ndarray | None = None


def track_places(
    track: Sequence[Mapping[str, Any] | None], current: int, reference: int, length: int, where: str
) -> tuple[np.ndarray, Box | None]:
    """Takes what two frames need out of a track.

    Args:
        track: Compressed RLE or None per frame.
        current: Frame of the mask.
        reference: Frame of the box.
        length: Frames of the video.
        where: How messages call the video.

    Returns:
        (H, W) bool mask in the current frame, and the box in the reference frame, None if the
        object is not there.

    Raises:
        UserError: if the track is of another length or not visible in the current frame.
    """
    if len(track) != length:
        raise UserError(f'{where} has {length} frames, but the track {len(track)} entries.')
    if not track[current]:
        raise UserError(f'{where}: the track is not visible in frame {current}.')
    mask = mask_utils.decode(track[current]).astype(bool)
    if not track[reference]:
        return mask, None
    x, y, w, h = mask_utils.toBbox(track[reference]).tolist()
    return mask, (x, y, x + w, y + h)


def checked_choice(choice: Choice, size: tuple[int, int], where: str) -> Choice:
    """Checks that something was chosen, and inside the frame.

    Args:
        choice: What was chosen.
        size: H and W.
        where: How messages call video and frame.

    Returns:
        The choice, its box cut to the frame.

    Raises:
        UserError: if not exactly one thing is chosen, or it is not in the frame.
    """
    height, width = size
    given = [one for one in (choice.position, choice.box, choice.mask) if one is not None]
    if len(given) != 1:
        raise UserError(
            f'{where}: choose by one of position, box, mask and track, found {len(given)} of them.'
        )
    if choice.position is not None:
        x, y = choice.position
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(
                f'{where}: position {x:g},{y:g} is outside of the frame of {width}x{height} pixels.'
            )
        return choice
    if choice.box is not None:
        x0, y0, x1, y1 = np.clip(choice.box, 0, (width, height, width, height)).tolist()
        if not (x0 < x1 and y0 < y1):
            raise UserError(
                f'{where}: box {tuple(choice.box)} (x0, y0, x1, y1) has no area inside the frame '
                f'of {width}x{height} pixels.'
            )
        return Choice(box=(x0, y0, x1, y1))
    mask = np.asarray(choice.mask, bool)
    if mask.shape != (height, width) or not mask.any():
        raise UserError(
            f'{where}: a mask must be (H, W) = {(height, width)} with at least one pixel, got '
            f'{mask.shape} with {np.count_nonzero(mask)} pixels.'
        )
    return Choice(mask=mask)


def chosen_cells(
    choice: Choice, size: Sequence[int], stride: int, scale: tuple[float, float]
) -> Tensor:
    """Finds the cells that were chosen.

    Args:
        choice: The cell that holds its position; those whose centre is in its box, and the one that
            holds the box's centre; or those that its mask covers by half, else most.
        size: h and w.
        stride: Pixels of the network's input per cell.
        scale: (x, y) pixels of the network's input per pixel of the frame.

    Returns:
        (K,) int64, counted row by row; K is at least 1.
    """
    if choice.position is not None:
        column, row = (
            min(int((place + 0.5) * factor / stride), count - 1)
            for place, factor, count in zip(choice.position, scale, size[::-1], strict=True)
        )
        return torch.tensor([row * size[1] + column])
    if choice.box is not None:
        box = torch.tensor([choice.box], dtype=torch.float) * torch.tensor(scale).repeat(2)
        inside = box_maps(box, size, stride)[0] > 0
    else:
        covered = _coverage(choice.mask, size, stride, scale)
        inside = torch.from_numpy(covered >= min(0.5, covered.max()))
    return inside.flatten().nonzero()[:, 0]


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
