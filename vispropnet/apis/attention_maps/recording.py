"""Maps of the places in a reference frame that a place of another frame looks at.

Legend: H, W a frame; h, w a level of features in cells; K chosen cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vispropnet.apis.segmenter import array_pipeline
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.models.looks import Look

# Columns at a time: those of a large object at a fine level would be many.
COLUMNS = 256
# (x0, y0, x1, y1) in pixels of the frame, the end exclusive.
Box = tuple[float, float, float, float]
# (x, y) of a pixel, or the mask of an object: (H, W) bool with at least one pixel.
Place = tuple[float, float] | np.ndarray


@dataclass(frozen=True)
class AttentionMap:
    """A map of the weights that chosen cells of the current frame give to the reference frame.

    It sums up to 1, or is 0 throughout if nothing is within reach.
    """

    title: str  # part of the model that looks, and how
    values: np.ndarray  # (h, w) over the cells of the reference frame, padding included
    cell: tuple[float, float]  # width and height of a cell in pixels of the frame
    notes: list[str]  # sentences on its values and what else there is to know


@torch.no_grad()
def record_attention(
    model: VISDetector,
    current: np.ndarray,
    reference: np.ndarray,
    place: Place,
    label: int | None = None,
    reference_box: Box | None = None,
) -> list[AttentionMap]:
    """Records where a place or an object of one frame looks in another frame of the video.

    Both frames go through the config's test pipeline and the model by themselves, as at test. Of
    each of the model's looks only the columns of the chosen cells are made; of several cells the
    map is their mean.

    Args:
        model: Made by :func:`~vispropnet.apis.models.init_model`.
        current: (H, W, 3) uint8, BGR: the frame with the place.
        reference: (H, W, 3) uint8, BGR: the frame where it looks.
        place: A pixel or the mask of an object in the current frame.
        label: Position of the category in the model's ``classes``; affinities by category need it.
        reference_box: Where the same object is in the reference frame, if that is known.

    Returns:
        A map for each of the model's :class:`~vispropnet.models.looks.Look`.

    Raises:
        UserError: if the model has no attention between frames, or needs a label.
    """
    (now, scale), (known, _) = (_encoded(model, frame) for frame in (current, reference))
    looks = model.looks(now, known, label)
    if not looks:
        raise UserError(
            f'the model is a {type(model).__name__}, which has no attention between frames to draw.'
        )
    maps = []
    for look in looks:
        cell = tuple(look.stride / factor for factor in scale)
        cells = chosen_cells(place, look.size, look.stride, scale)
        values, total = _mean_column(look, cells.to(next(model.parameters()).device))
        notes = _notes(values, cell, reference.shape[:2], reference_box)
        if len(cells) > 1:
            notes.append(f'mean over {len(cells)} cells of the object')
        if total == 0:
            notes.append('all weights are 0: what they are highest for lies too far away')
        elif total < 0.995:
            notes.append(f'the weights sum up to {total:.1%}, here scaled up to all')
        notes += [look.note] if look.note else []
        maps.append(AttentionMap(look.title, values, cell, notes))
    return maps


def chosen_cells(
    place: Place, size: Sequence[int], stride: int, scale: tuple[float, float]
) -> Tensor:
    """Finds the cell that holds a position, or the cells that a mask covers by half, else most.

    Args:
        place: The position or mask.
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


def _mass_in_box(values: np.ndarray, cell: tuple[float, float], box: Box) -> float:
    """Sum of a map (h, w) in a box; a cell's share is spread evenly over the cell."""
    shares = []
    for axis, count in ((1, values.shape[0]), (0, values.shape[1])):
        edges = np.clip(np.arange(count + 1) * cell[axis], box[axis], max(box[axis], box[axis + 2]))
        shares.append(np.diff(edges) / cell[axis])
    return float(shares[0] @ values @ shares[1])


def _encoded(model: VISDetector, frame: np.ndarray) -> tuple[Any, tuple[float, float]]:
    """Features of a frame, and (x, y) network pixels per pixel of it."""
    size = frame.shape[:2]
    packed = array_pipeline(model.cfg)(dict(img=frame, img_shape=size, ori_shape=size))
    batch = model.data_preprocessor(
        dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]), False
    )
    inner = batch['data_samples'][0].metainfo['img_shape']
    return model.encode(batch['inputs']), (inner[1] / size[1], inner[0] / size[0])


def _mean_column(look: Look, cells: Tensor) -> tuple[np.ndarray, float]:
    """Mean over K columns (h, w), scaled to sum up to 1; and what it summed up to."""
    mean = sum(look.columns(some).double().sum(dim=2) for some in cells.split(COLUMNS))
    mean = (mean / len(cells)).cpu().numpy()
    total = float(mean.sum())
    return (mean / total if total > 0 else mean), total


def _notes(
    values: np.ndarray, cell: tuple[float, float], size: tuple[int, int], reference_box: Box | None
) -> list[str]:
    height, width = size
    row, column = np.unravel_index(values.argmax(), values.shape)
    x, y = (
        min((place + 0.5) * side, most - 1)
        for place, side, most in ((column, cell[0], width), (row, cell[1], height))
    )
    notes = [
        f'maximum {values.max():.3g} in the cell around {x:.0f},{y:.0f} (spread evenly: '
        f'{1 / values.size:.2g})'
    ]
    if reference_box is not None:
        share, (x0, y0, x1, y1) = _mass_in_box(values, cell, reference_box), reference_box
        notes.append(
            f"{share:.1%} of the mass is inside the object's box in the reference frame, which "
            f'takes {(x1 - x0) * (y1 - y0) / (width * height):.1%} of the frame'
        )
    outside = values.sum() - _mass_in_box(values, cell, (0, 0, width, height))
    if outside > 0.005:
        notes.append(f'{outside:.1%} lies in the padding beyond the frame, which is not shown')
    return notes
