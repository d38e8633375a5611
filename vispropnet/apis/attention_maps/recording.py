"""Maps of the places in a reference frame that chosen places of another frame look at.

Legend: H, W a frame; h, w a level of features in cells; K chosen cells. Boxes are
(x0, y0, x1, y1) in pixels of the frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from mmcv.transforms import Compose
from torch import Tensor

from vispropnet.apis.attention_maps.drawing import draw_attention
from vispropnet.apis.attention_maps.places import (
    Box,
    Choice,
    checked_choice,
    chosen_cells,
    track_places,
)
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.models.looks import Look
from vispropnet.registry import TRANSFORMS

# Columns at a time: those of a large object at a fine level would be many.
COLUMNS = 256


@dataclass(frozen=True)
class AttentionMap:
    """A map of the weights that chosen cells of the current frame give to the reference frame.

    Attributes:
        title: Which part of the model looks, and how.
        caption: Values of the map, in a sentence or two.
        values: (h, w) over the cells of the reference frame, padding included; sums up to 1, or is
            0 throughout if nothing is within reach.
        stride: Pixels of the network's input per cell.
        picture: (height, width, 3) uint8, BGR.
    """

    title: str
    caption: str
    values: np.ndarray
    stride: int
    picture: np.ndarray


class _Frame(NamedTuple):
    """Features of a frame, and (x, y) network pixels per pixel of the frame."""

    features: Any
    scale: tuple[float, float]


@torch.no_grad()
def attention_pictures(
    model: VISDetector,
    frames: Sequence[np.ndarray],
    current: int,
    reference: int,
    position: tuple[float, float] | None = None,
    box: Box | None = None,
    mask: np.ndarray | None = None,
    track: Sequence[Mapping[str, Any] | None] | None = None,
    label: int | None = None,
    reference_box: Box | None = None,
    name: str = 'video',
    subject: str | None = None,
) -> list[AttentionMap]:
    """Draws where a place or an object of one frame looks in another frame of the video.

    Both frames go through the config's test pipeline and the model by themselves, as at test. Of
    each of the model's looks only the columns of the chosen cells are made; of several cells the
    map is their mean. Chosen are the cell that holds the position; the cells whose centre is in the
    box; or those that the mask covers by half, else most.

    Args:
        model: What :func:`~vispropnet.apis.models.init_model` gave.
        frames: (H, W, 3) uint8, BGR; only the two are taken.
        current: Position in ``frames`` of the frame where the place is chosen.
        reference: Position in ``frames`` of the frame where it looks.
        position: (x, y) of a pixel. Give one of this, ``box``, ``mask`` and ``track``.
        box: A box in the current frame.
        mask: (H, W) bool of an object in the current frame.
        track: Compressed RLE or None per frame: gives mask and reference box.
        label: Position of the category in the model's ``classes``; affinities by category need it.
        reference_box: Where the same object is in the reference frame, if that is known.
        name: What to call the video.
        subject: What to call what was chosen.

    Returns:
        A map for each of the model's :class:`~vispropnet.models.looks.Look`.

    Raises:
        UserError: if an index, the place, the frames or the label do not fit, or the model has no
            attention between frames.
    """
    pair = _pair(frames, current, reference, name)
    missing = False
    if track is not None:
        if mask is not None:
            raise UserError(f'{name}: choose by mask or by track, found both.')
        mask, reference_box = track_places(track, current, reference, len(frames), name)
        missing = reference_box is None
    choice = checked_choice(
        Choice(position, box, mask), pair[0].shape[:2], f'{name}, frame {current}'
    )
    seen = [_encoded(model, frame) for frame in pair]
    looks = model.looks(seen[0].features, seen[1].features, label)
    if not looks:
        raise UserError(
            f'the model is a {type(model).__name__}, which has no attention between frames to draw.'
        )
    heads = (
        f'frame {current} (current): {subject or "the chosen place"}',
        f'frame {reference} (reference)',
    )
    pictures = []
    for look in looks:
        cell = tuple(look.stride / factor for factor in seen[1].scale)
        values, total, count = _mean_column(
            look, chosen_cells(choice, look.size, look.stride, seen[0].scale)
        )
        notes = _notes(values, cell, pair[1].shape[:2], reference_box)
        notes += [f'mean over {count} cells of the object or box'] if count > 1 else []
        if total == 0:
            notes.append('all weights are 0: what they are highest for lies too far away')
        elif total < 0.995:
            notes.append(f'the weights sum up to {total:.1%}, here scaled up to all')
        notes += [look.note] if look.note else []
        notes += ['the object is not visible in the reference frame'] if missing else []
        title = f'{name}: {look.title}'
        drawn = draw_attention(*pair, values, cell, choice, reference_box, title, heads, notes)
        caption = '. '.join(notes) + '.'
        pictures.append(AttentionMap(look.title, caption, values, look.stride, drawn))
    return pictures


def mass_in_box(values: np.ndarray, cell: tuple[float, float], box: Box) -> float:
    """Measures how much of a map lies in a box; a cell's share is spread evenly over the cell.

    Args:
        values: (h, w).
        cell: (width, height) of a cell in pixels of the frame.
        box: In pixels of the frame.

    Returns:
        The sum of the values in the box.
    """
    shares = []
    for axis, count in ((1, values.shape[0]), (0, values.shape[1])):
        edges = np.clip(np.arange(count + 1) * cell[axis], box[axis], max(box[axis], box[axis + 2]))
        shares.append(np.diff(edges) / cell[axis])
    return float(shares[0] @ values @ shares[1])


def _pair(frames, current, reference, name):
    pair = []
    for index in (current, reference):
        if not 0 <= index < len(frames):
            raise UserError(
                f'{name}: there is no frame {index}; it has {len(frames)}, counted from 0.'
            )
        pair.append(frames[index])
    if pair[0].shape != pair[1].shape:
        raise UserError(
            f'{name}: frame {current} has the shape {pair[0].shape}, but frame {reference} '
            f'{pair[1].shape}.'
        )
    return pair


def _encoded(model: VISDetector, frame: np.ndarray) -> _Frame:
    """Features of a frame that came through the test pipeline."""
    loader = model.cfg.get('test_dataloader') or model.cfg.get('val_dataloader')
    if loader is None:
        raise UserError('the config has no test_dataloader, whose pipeline prepares the frames.')
    steps = [dict(step) for step in loader.dataset.pipeline if 'Load' not in step['type']]
    size = frame.shape[:2]
    with quiet():
        pipeline = Compose([TRANSFORMS.build(step) for step in steps])
    packed = pipeline(dict(img=frame, img_shape=size, ori_shape=size))
    batch = model.data_preprocessor(
        dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]), False
    )
    inner = batch['data_samples'][0].metainfo['img_shape']
    return _Frame(model.encode(batch['inputs']), (inner[1] / size[1], inner[0] / size[0]))


def _mean_column(look: Look, cells: Tensor) -> tuple[np.ndarray, float, int]:
    """Mean over K columns (h, w), scaled to sum up to 1; what it summed up to; and K."""
    mean = sum(look.columns(some).double().sum(dim=2) for some in cells.split(COLUMNS))
    mean = (mean / len(cells)).cpu().numpy()
    total = float(mean.sum())
    return (mean / total if total > 0 else mean), total, len(cells)


def _notes(
    values: np.ndarray,
    cell: tuple[float, float],
    size: tuple[int, int],
    reference_box: Box | None,
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
        share, (x0, y0, x1, y1) = mass_in_box(values, cell, reference_box), reference_box
        notes.append(
            f"{share:.1%} of the mass is inside the object's box in the reference frame, which "
            f'takes {(x1 - x0) * (y1 - y0) / (width * height):.1%} of the frame'
        )
    outside = values.sum() - mass_in_box(values, cell, (0, 0, width, height))
    if outside > 0.005:
        notes.append(f'{outside:.1%} lies in the padding beyond the frame, which is not shown')
    return notes
