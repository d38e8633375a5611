"""J and F of video object segmentation, from index masks.

Source: Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation, CVPR 2016; Pont-Tuset et al., The 2017 DAVIS Challenge.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vispropnet.datasets.index_masks import ids_in
from vispropnet.errors import UserError

# Part of the frame's diagonal that a boundary may be off.
TOLERANCE = 0.008
METRICS = ('J_mean', 'J_recall', 'J_decay', 'F_mean', 'F_recall', 'F_decay', 'JF')


@dataclass(frozen=True)
class SequenceScores:
    """J and F of the objects of a sequence.

    Args:
        name: Of the sequence.
        ids: N ids of objects.
        values: (2, N, T) J and F in each scored frame, NaN where the object does not count.
    """

    name: str
    ids: tuple[int, ...]
    values: np.ndarray

    def metrics(self) -> np.ndarray:
        """(N, 7) :data:`METRICS` of each object."""
        rows = []
        for j, f in zip(*self.values, strict=True):
            six = [*statistics(j[~np.isnan(j)]), *statistics(f[~np.isnan(f)])]
            rows.append([*six, (six[0] + six[3]) / 2])
        return np.array(rows).reshape(-1, len(METRICS))


def statistics(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, recall (share above 0.5) and decay (first quarter minus last) of one object.

    Quarters share the frame between them, as the reference has it; its 8-bit frame numbers, which
    are wrong beyond 256 frames, are not repeated.

    Args:
        values: (T,) J or F of its frames, at least one.
    """
    ends = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(int)
    first, last = (values[ends[part] : ends[part + 1] + 1].mean() for part in (0, 3))
    return float(values.mean()), float(np.mean(values > 0.5)), float(first - last)


def measure_frame(truth: np.ndarray, result: np.ndarray, ids: Iterable[int]) -> np.ndarray:
    """Computes J and F of objects in one frame.

    Args:
        truth: (H, W) uint8 ids.
        result: (H, W) uint8 ids.
        ids: N ids of objects.

    Returns:
        (2, N) float64.
    """
    radius = math.ceil(TOLERANCE * np.linalg.norm(truth.shape))
    return np.array([_measure(truth == one, result == one, radius) for one in ids]).reshape(-1, 2).T


def _measure(truth: np.ndarray, result: np.ndarray, radius: int) -> tuple[float, float]:
    left, top, width, height = cv2.boundingRect((truth | result).view(np.uint8))
    if not width:
        return 1.0, 1.0
    # Boundaries lie at most one pixel outside.
    window = (
        slice(max(top - 1, 0), top + height + 1),
        slice(max(left - 1, 0), left + width + 1),
    )
    truth, result = truth[window], result[window]
    j = np.count_nonzero(truth & result) / np.count_nonzero(truth | result)
    truth, result = boundary(truth), boundary(result)
    if not truth.any() or not result.any():
        return j, float(truth.any() == result.any())
    precision, recall = _share_near(result, truth, radius), _share_near(truth, result, radius)
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(these: np.ndarray, others: np.ndarray, radius: int) -> float:
    """Share of pixels with one of the others within the radius."""
    # Of most the square inside the disk decides; the rest of the disk is looked at one by one.
    half, down, right = _disk(radius)
    near = cv2.dilate(others.view(np.uint8), np.ones((2 * half + 1,) * 2, np.uint8)).view(bool)
    rows, columns = np.nonzero(these & ~near)
    around = np.pad(others, radius)[rows[:, None] + down, columns[:, None] + right]
    count = np.count_nonzero(these)
    return (count - np.count_nonzero(~around.any(axis=1))) / count


@functools.cache
def _disk(radius: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Half the side of the square in a disk; offsets to the other pixels, from its corner."""
    half = int(radius / math.sqrt(2))
    places = np.arange(2 * radius + 1)
    away = np.abs(places - radius)
    outside = np.maximum(away[:, None], away) > half
    down, right = np.nonzero((away[:, None] ** 2 + away**2 <= radius**2) & outside)
    return half, down, right


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their neighbour to the right, below, or below to the right.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool.
    """
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def score_sequence(
    name: str,
    frames: Iterable[tuple[np.ndarray, np.ndarray | None]],
    late_objects: bool = False,
) -> SequenceScores:
    """Scores a sequence.

    Args:
        name: For messages.
        frames: All its frames in order: ids in the truth and in the result, each (H, W) uint8; None
            for the result of a frame that is not scored.
        late_objects: False for DAVIS: the objects of the first frame, in all frames but the first
            and the last. True for YouTube-VOS: all objects, each from the frame after its first.

    Raises:
        UserError: if there is no object or no scored frame, or the result has an id that the truth
            never has.
    """
    rows, known = [], []
    found: dict[int, int] = {}  # frame by id
    first_mask: dict[int, int] = {}
    for number, (truth, result) in enumerate(frames):
        for one in ids_in(truth):
            first_mask.setdefault(one, number)
        known = [one for one, first in first_mask.items() if late_objects or first == 0]
        if number == 0 and not known and not late_objects:
            raise UserError(f'sequence {name}: the first frame of the truth shows no object.')
        if result is None:
            continue
        for one in ids_in(result):
            found.setdefault(one, number)
        counted = [one for one in known if first_mask[one] < number]
        rows.append(dict(zip(counted, measure_frame(truth, result, counted).T, strict=True)))
    ids = sorted(known)
    if unknown := sorted(found.keys() - first_mask.keys()):
        raise UserError(
            f'sequence {name}, frame {found[unknown[0]]}: the result has the id {unknown[0]}, the '
            f'truth has {", ".join(map(str, sorted(first_mask)))}.'
        )
    absent = np.full(2, np.nan)
    values = np.array([[row.get(one, absent) for row in rows] for one in ids])
    values = values.reshape(len(ids), len(rows), 2)
    counts = ~np.isnan(values).all(axis=(1, 2))
    if not counts.any():
        raise UserError(f'sequence {name}: no frame is scored (too few frames, or no object).')
    ids = tuple(one for one, some in zip(ids, counts, strict=True) if some)
    return SequenceScores(name, ids, values[counts].transpose(2, 0, 1))


def overall(sequences: Sequence[SequenceScores]) -> dict[str, float]:
    """Means of :data:`METRICS` over all objects of all sequences."""
    table = np.concatenate([one.metrics() for one in sequences])
    return dict(zip(METRICS, table.mean(axis=0).tolist(), strict=True))
