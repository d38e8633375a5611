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
        skipped: Those of the ids that the first frame does not show.
    """

    name: str
    ids: tuple[int, ...]
    values: np.ndarray
    skipped: tuple[int, ...] = ()

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
    window = _window(truth | result)
    return _measure_ids(truth[window], result[window], ids, _radius(truth.shape))


def _radius(size: Sequence[int]) -> int:
    return math.ceil(TOLERANCE * np.linalg.norm(size))


def _measure_ids(
    truth: np.ndarray, result: np.ndarray, ids: Iterable[int], radius: int
) -> np.ndarray:
    return np.array([_measure(truth == one, result == one, radius) for one in ids]).reshape(-1, 2).T


def _measure(truth: np.ndarray, result: np.ndarray, radius: int) -> tuple[float, float]:
    window = _window(truth | result)
    truth, result = truth[window], result[window]
    if not truth.size:
        return 1.0, 1.0
    j = np.count_nonzero(truth & result) / np.count_nonzero(truth | result)
    truth, result = boundary(truth), boundary(result)
    if not truth.any() or not result.any():
        return j, float(truth.any() == result.any())
    precision, recall = _share_near(result, truth, radius), _share_near(truth, result, radius)
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _window(shown: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of what (H, W) uint8 or bool pixels show, with one more on each side."""
    left, top, width, height = cv2.boundingRect(shown.view(np.uint8))
    if not width:
        return slice(0), slice(0)
    # Boundaries lie at most one pixel outside.
    return slice(max(top - 1, 0), top + height + 1), slice(max(left - 1, 0), left + width + 1)


def _share_near(these: np.ndarray, others: np.ndarray, radius: int) -> float:
    """Share of pixels with one of the others within the radius."""
    # Of most the square inside the disk decides; the rest of the disk is looked at one by one.
    half, down, right = _disk(radius)
    near = cv2.dilate(others.view(np.uint8), np.ones((2 * half + 1,) * 2, np.uint8))
    # Flat numbers of pixels: several times faster than rows and columns.
    places = np.flatnonzero(these)
    far = places[near.ravel()[places] == 0]
    sides = (radius,) * 4
    around = cv2.copyMakeBorder(others.view(np.uint8), *sides, cv2.BORDER_CONSTANT, value=0)
    width, wide = these.shape[1], around.shape[1]
    corners = far + far // width * (wide - width)
    found = around.ravel()[corners[:, None] + (down * wide + right)]
    return (len(places) - np.count_nonzero(~found.any(axis=1))) / len(places)


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


class SequenceScorer:
    """Scores a sequence frame by frame, and holds no masks.

    Args:
        name: For messages.
        num_frames: Of the sequence.
        late_objects: False for DAVIS: the objects of the first frame, in all frames but the first
            and the last. True for YouTube-VOS: all objects, each from the frame after its first.
        skipped_ids: Whether, without late objects, each id that the first frame skips below its
            largest is an object too, one that is not there, as in the published code of DAVIS 2017.
    """

    def __init__(
        self, name: str, num_frames: int, late_objects: bool = False, skipped_ids: bool = False
    ) -> None:
        self.name, self.num_frames = name, num_frames
        self.late_objects, self.skipped_ids = late_objects, skipped_ids
        self._known: list[int] = []
        self._first: dict[int, int] = {}  # frame by id in the truth
        self._found: dict[int, int] = {}  # frame by id in the result
        self._rows: list[dict[int, np.ndarray]] = []
        self._frames = 0

    @property
    def next_counts(self) -> bool:
        """Whether the next frame is scored."""
        last = self._frames == self.num_frames - 1
        return bool(self._known) and (self.late_objects or not last)

    @property
    def has_scores(self) -> bool:
        """Whether a frame has been scored."""
        return bool(self._rows)

    def add(self, truth: np.ndarray, result: np.ndarray | None) -> None:
        """Takes in the next frame.

        Args:
            truth: (H, W) uint8 ids.
            result: The same of the result; None unless the frame is scored (:attr:`next_counts`).

        Raises:
            UserError: if the objects have to be those of the first frame and it shows none.
        """
        radius, counted = _radius(truth.shape), self._known
        number, self._frames = self._frames, self._frames + 1
        if result is not None:
            window = _window(truth | result)
            truth, result = truth[window], result[window]
        for one in ids_in(truth):
            self._first.setdefault(one, number)
        if self.late_objects:
            self._known = [*self._first]
        elif number == 0:
            self._known = self._objects_of_first_frame()
        if result is None:
            return
        for one in ids_in(result):
            self._found.setdefault(one, number)
        measured = _measure_ids(truth, result, counted, radius).T
        self._rows.append(dict(zip(counted, measured, strict=True)))

    def _objects_of_first_frame(self) -> list[int]:
        if not self._first:
            raise UserError(f'sequence {self.name}: the first frame of the truth shows no object.')
        return [*range(1, max(self._first) + 1)] if self.skipped_ids else [*self._first]

    def scores(self) -> SequenceScores:
        """Gives the scores.

        Raises:
            UserError: if the result has an id that the truth never has, or no frame is scored.
        """
        if unknown := sorted(self._found.keys() - self._first.keys()):
            raise UserError(
                f'sequence {self.name}, frame {self._found[unknown[0]]}: the result has the id '
                f'{unknown[0]}, the truth has {", ".join(map(str, sorted(self._first)))}.'
            )
        if not self._rows:
            raise UserError(
                f'sequence {self.name}: no frame is scored (too few frames, or no object).'
            )
        ids = tuple(sorted({one for row in self._rows for one in row}))
        absent = np.full(2, np.nan)
        values = np.array([[row.get(one, absent) for row in self._rows] for one in ids])
        skipped = [one for one in ids if not self.late_objects and self._first.get(one) != 0]
        return SequenceScores(self.name, ids, values.transpose(2, 0, 1), tuple(skipped))


def overall(sequences: Sequence[SequenceScores]) -> dict[str, float]:
    """Means of :data:`METRICS` over all objects of all sequences."""
    table = np.concatenate([one.metrics() for one in sequences])
    return dict(zip(METRICS, table.mean(axis=0).tolist(), strict=True))
