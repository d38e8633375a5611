"""Where a model looks in a reference frame: affinity and attention of chosen places, as pictures.

Legend: H, W a frame; h, w a level of features in cells; K chosen cells. Boxes are
(x0, y0, x1, y1) in pixels of the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vispropnet.apis.array_pipeline import array_pipeline
from vispropnet.apis.attention_places import checked_choice, chosen_cells, track_places
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.visualization.attention_maps import Box, Choice, draw_attention

# Columns at a time: those of a large object at a fine level would be many.
COLUMNS = 256


@dataclass(frozen=True)
class AttentionMap:
    """Where chosen cells of the current frame look in the reference frame.

    Args:
        title: Which part of the model looks, and how.
        caption: Figures of the map, in a sentence or two.
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
    """Levels of features, each (1, C, h, w), and (x, y) network pixels per pixel of the frame."""

    levels: Sequence[Tensor]
    scale: tuple[float, float]


class _Map(NamedTuple):
    """A map before it is drawn: see :class:`AttentionMap`."""

    title: str
    values: np.ndarray
    stride: int
    notes: tuple[str, ...]


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
    the propagation head's affinity and of the attention neck's correlation only the columns of the
    chosen cells are made; of several cells the map is their mean. Chosen are the cell that holds
    the position; the cells whose centre is in the box; or those that the mask covers by half, else
    most. The affinity is drawn as the softmax alone and, if the head has ``test_sigma``, also with
    the Gaussian of the distance, as it is used at test.

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
        A map for each way of looking: the affinity's first, then a level of the neck each.

    Raises:
        UserError: if an index, the place, the frames or the label do not fit, or the model has
            neither propagation head nor attention neck.
    """
    check_looks(model)
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
    seen = [_look(model, frame) for frame in pair]
    heads = (
        f'frame {current} (current): {subject or "what was chosen"}',
        f'frame {reference} (reference)',
    )
    pictures = []
    for found in _maps(model, *seen, choice, label):
        cell = tuple(found.stride / factor for factor in seen[1].scale)
        notes = _notes(found, cell, pair[1].shape[:2], reference_box)
        notes += ['the object is not visible in the reference frame'] if missing else []
        title = f'{name}: {found.title}'
        drawn = draw_attention(
            *pair, found.values, cell, choice, reference_box, title, heads, notes
        )
        caption = '. '.join(notes) + '.'
        pictures.append(AttentionMap(found.title, caption, found.values, found.stride, drawn))
    return pictures


def check_looks(model: VISDetector) -> None:
    """Checks that a model looks at reference frames at all.

    Args:
        model: The model.

    Raises:
        UserError: if it has neither propagation head nor attention neck.
    """
    if getattr(model, 'prop_head', None) is None and getattr(model, 'attn_neck', None) is None:
        raise UserError(
            f'the model is a {type(model).__name__} with neither propagation head (prop_head) nor '
            'attention neck (attn_neck): it has no attention between frames to draw.'
        )


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


def _look(model: VISDetector, frame: np.ndarray) -> _Frame:
    """Features of a frame that came through the test pipeline."""
    size = frame.shape[:2]
    packed = array_pipeline(model.cfg)(dict(img=frame, img_shape=size, ori_shape=size))
    batch = model.data_preprocessor(
        dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]), False
    )
    inner = batch['data_samples'][0].metainfo['img_shape']
    return _Frame(model.encode(batch['inputs']), (inner[1] / size[1], inner[0] / size[0]))


def _maps(
    model: VISDetector, current: _Frame, reference: _Frame, choice: Choice, label: int | None
) -> Iterator[_Map]:
    if getattr(model, 'prop_head', None) is not None:
        yield from _affinity_maps(model.prop_head, current, reference, choice, label)
    neck = getattr(model, 'attn_neck', None)
    if neck is None:
        return
    # Which features are summed up there is a setting of its own.
    note = f'the neck sums up features of the {neck.value} frame at these places'
    strides = model.detector.rpn_head.prior_generator.strides
    for level in neck.levels(len(current.levels)):
        one, other = current.levels[level], reference.levels[level]
        stride = strides[level][0]
        values, _, count = _mean_column(
            lambda some, one=one, other=other: neck.correlation(one, other, some)[0],
            chosen_cells(choice, one.shape[-2:], stride, current.scale).to(one.device),
        )
        yield _Map(f'attention neck, stride {stride}', values, stride, (*_cells_note(count), note))


def _affinity_maps(head, current, reference, choice, label):
    if head.affinity.per_object and not (label is not None and 0 <= label < head.num_classes):
        raise UserError(
            'the affinity of the propagation head differs by category: name the category of the '
            f'chosen place, a label from 0 to {head.num_classes - 1}, found {label}.'
        )
    known, now = (head.features(frame.levels)[0] for frame in (reference, current))
    cells = chosen_cells(choice, now.shape[-2:], head.stride, current.scale).to(now.device)
    labels = torch.tensor([label or 0], device=now.device)
    title = 'affinity of the propagation head'
    for sigma in dict.fromkeys((None, head.test_sigma)):
        values, total, count = _mean_column(
            lambda some, sigma=sigma: head.affinity_columns(known, now, some, labels, sigma)[0],
            cells,
        )
        notes = _cells_note(count)
        if total == 0:
            notes += ('the Gaussian leaves nothing of the affinity, which lies too far away',)
        elif total < 0.995:
            notes += (f'the Gaussian leaves {total:.1%} of the affinity, here scaled up to all',)
        of_distance = f', with the distance as at test (sigma {sigma:g} cells)' if sigma else ''
        yield _Map(title + of_distance, values, head.stride, notes)


def _cells_note(count):
    return (f'mean over {count} cells of the object or box',) if count > 1 else ()


def _mean_column(
    columns: Callable[[Tensor], Tensor], positions: Tensor
) -> tuple[np.ndarray, float, int]:
    """Mean of (h, w, K) columns, scaled to sum up to 1; what it summed up to; and K."""
    mean = sum(columns(some).double().sum(dim=2) for some in positions.split(COLUMNS))
    mean = (mean / len(positions)).cpu().numpy()
    total = float(mean.sum())
    return (mean / total if total > 0 else mean), total, len(positions)


def _notes(
    found: _Map, cell: tuple[float, float], size: tuple[int, int], reference_box: Box | None
) -> list[str]:
    height, width = size
    row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    x, y = (
        min((place + 0.5) * side, most - 1)
        for place, side, most in ((column, cell[0], width), (row, cell[1], height))
    )
    notes = [
        f'maximum {found.values.max():.3g} in the cell around {x:.0f},{y:.0f} (spread evenly: '
        f'{1 / found.values.size:.2g})'
    ]
    if reference_box is not None:
        share, (x0, y0, x1, y1) = mass_in_box(found.values, cell, reference_box), reference_box
        notes.append(
            f"{share:.1%} of the mass is inside the object's box in the reference frame, which "
            f'takes {(x1 - x0) * (y1 - y0) / (width * height):.1%} of the frame'
        )
    outside = found.values.sum() - mass_in_box(found.values, cell, (0, 0, width, height))
    if outside > 0.005:
        notes.append(f'{outside:.1%} lies in the padding beyond the frame, which is not shown')
    return [*notes, *found.notes]
