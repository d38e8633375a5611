"""Reads tracks one by one and measures how they overlap the annotated objects of their video."""

from __future__ import annotations

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.datasets.annotation_values import is_no_mask
from vispropnet.datasets.rle import RLE, examine_rles, length_fault
from vispropnet.errors import UserError
from vispropnet.evaluation.ground_truth import GroundTruth, VideoTruth, frame_place
from vispropnet.evaluation.result_file import RESULT_KEYS
from vispropnet.text import first_of

# As the reference evaluator makes them; their last bits decide ties.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Masks checked at once; tracks are let go of after each batch.
_BATCH_MASKS = 16_000


@dataclass(frozen=True)
class Tracks:
    """Predicted tracks as scoring needs them, N of them, without their masks.

    Attributes:
        truth: What they were held against.
        video: (N,) int64, position of each track's video in ``truth.videos``.
        category: (N,) int64, position of its category.
        score: (N,) float64.
        area: (N,) float64, mean area over the frames where it has any.
        length: (N,) int64, frames where it shows.
        ious: N arrays (G,) float64, with the objects of its video: sum over frames of the
            intersections by that of the unions. Without ``frames``, 0 also where it is of another
            category or cannot reach 0.5.
        frames: N arrays, each ``(intersections (G, T), areas (T,))`` in pixels, if asked for.
    """

    truth: GroundTruth
    video: np.ndarray
    category: np.ndarray
    score: np.ndarray
    area: np.ndarray
    length: np.ndarray
    ious: list[np.ndarray]
    frames: list[tuple[np.ndarray, np.ndarray]] | None


def measure_tracks(
    truth: GroundTruth, results: Iterable[Mapping[str, Any]], frame_by_frame: bool = False
) -> Tracks:
    """Checks tracks and measures their overlaps.

    The number of pixels in common comes from pycocotools, one call per video, category and frame:
    with the crowd flag its IoU is the intersection by the area of the track's mask, from which the
    whole number follows. Masks are let go of batch by batch, so ``results`` may be a generator over
    a file that does not fit into memory.

    Args:
        truth: The annotated objects.
        results: Tracks ``{video_id, category_id, score, segmentations}`` with one RLE or None per
            frame, at the size of the video. Not changed.
        frame_by_frame: Whether to measure all objects of the video, whatever their category, and to
            keep the pixels of every frame. Slower, and needed for kinds of errors.

    Returns:
        The tracks, in the order given. Of videos with frames that are not annotated, masks there do
        not count, and tracks are left out that have no others.

    Raises:
        UserError: naming video, track and frame, if a track does not fit.
    """
    label = {category_id: index for index, category_id in enumerate(truth.category_ids)}
    batch = _Batch(truth, frame_by_frame)
    score = []
    for index, result in enumerate(results):
        _check_entry(result, f'result entry {index}', truth, label)
        score.append(float(result['score']))
        video = truth.video_index[result['video_id']]
        batch.add(video, label[result['category_id']], result['segmentations'])
    batch.measure()
    kept = np.array(batch.kept, bool)
    return Tracks(
        truth=truth,
        video=np.array(batch.video, np.int64)[kept],
        category=np.array(batch.category, np.int64)[kept],
        score=np.array(score, np.float64)[kept],
        area=np.array(batch.area, np.float64)[kept],
        length=np.array(batch.length, np.int64)[kept],
        ious=list(itertools.compress(batch.ious, kept)),
        frames=list(itertools.compress(batch.frames, kept)) if frame_by_frame else None,
    )


@dataclass
class _Batch:
    """Tracks whose masks are at hand, and what was measured of all tracks so far, in order."""

    truth: GroundTruth
    frame_by_frame: bool
    video: list[int] = field(default_factory=list)
    category: list[int] = field(default_factory=list)
    area: list[float] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    ious: list[np.ndarray] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)
    frames: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    _waiting: list[list[RLE | None]] = field(default_factory=list)  # masks of the last tracks
    _masks: int = 0

    def add(self, video: int, category: int, masks: list[RLE | None]) -> None:
        self.video.append(video)
        self.category.append(category)
        self._waiting.append(masks)
        self._masks += len(masks)
        if self._masks >= _BATCH_MASKS:
            self.measure()

    def measure(self) -> None:
        """Measures the waiting tracks and lets go of their masks."""
        groups = defaultdict(list)
        for index, (rles, areas) in enumerate(self._checked(), start=len(self.area)):
            video, category = self.video[index], self.category[index]
            objects = len(self.truth.videos[video].objects)
            self.length.append(int(np.count_nonzero(areas)))
            self.area.append(int(areas.sum()) / max(self.length[-1], 1))
            self.ious.append(np.zeros(objects))
            if self.frame_by_frame:
                self.frames.append((np.zeros((objects, len(areas)), np.int32), areas.copy()))
            # Measured frame by frame, tracks are held against objects of all categories.
            groups[video, None if self.frame_by_frame else category].append((index, rles, areas))
        for (video, category), tracks in groups.items():
            own = np.arange(len(self.truth.videos[video].objects))
            if category is not None:
                own = own[self.truth.category[self.truth.videos[video].objects] == category]
            if len(own):
                self._measure_group(self.truth.videos[video], own, tracks)
        self._waiting, self._masks = [], 0

    def _checked(self) -> Iterator[tuple[list[RLE | None], np.ndarray]]:
        """Compressed masks and their areas (T,) of each waiting track."""
        flat = list(itertools.chain.from_iterable(self._waiting))
        first = len(self.area)
        entries = [self.truth.videos[video].entry for video in self.video[first:]]
        of_mask = [
            entry for entry, masks in zip(entries, self._waiting, strict=True) for _ in masks
        ]
        present = [position for position, mask in enumerate(flat) if not is_no_mask(mask)]
        rles, pixels, faults = examine_rles(
            [flat[position] for position in present], [of_mask[position] for position in present]
        )
        ends = np.cumsum([len(masks) for masks in self._waiting]).tolist()
        for at, fault in faults.items():
            track = bisect.bisect_right(ends, present[at])
            frame = present[at] - ([0, *ends])[track]
            raise UserError(
                f'video {entries[track]["id"]}, result entry {first + track}, '
                f'{frame_place(entries[track], frame)}: {fault}'
            )
        areas = np.zeros(len(flat), np.int64)
        areas[present] = pixels
        for position, rle in zip(present, rles, strict=True):
            flat[position] = rle
        own_ends = itertools.pairwise([0, *ends])
        for video, (begin, end) in zip(self.video[first:], own_ends, strict=True):
            own, annotated = areas[begin:end], self.truth.videos[video].annotated
            has_masks = own.any()
            if annotated is not None:
                own[~annotated] = 0
            self.kept.append(bool(own.any() or not has_masks))
            yield flat[begin:end], own

    def _measure_group(
        self, video: VideoTruth, own: np.ndarray, tracks: list[tuple[int, list, np.ndarray]]
    ) -> None:
        """Measures tracks of one video with the objects ``own`` of it."""
        areas = np.stack([areas for _, _, areas in tracks])  # (D, T)
        common = _intersections(
            [rles for _, rles, _ in tracks],
            areas,
            [video.masks[column] for column in own],
            video.areas[own],
            least_iou=0.0 if self.frame_by_frame else IOU_THRESHOLDS[0],
        )
        intersections = common.sum(axis=-1)
        unions = areas.sum(axis=-1)[:, None] + video.areas[own].sum(axis=-1) - intersections
        ious = intersections / np.maximum(unions, 1)
        for row, (index, _, _) in enumerate(tracks):
            self.ious[index][own] = ious[row]
            if self.frame_by_frame:
                self.frames[index][0][own] = common[row]


def _check_entry(result: Mapping, where: str, truth: GroundTruth, label: dict) -> None:
    for key in RESULT_KEYS:
        if key not in result:
            raise UserError(f"{where}: no key '{key}'.")
    video_id, category_id = result['video_id'], result['category_id']
    if video_id not in truth.video_index:
        raise UserError(f'{where}: video_id {video_id!r} is not in the annotations.')
    if category_id not in label:
        raise UserError(
            f'video {video_id}, {where}: category_id {category_id!r} is not in the annotations, '
            f'which have {first_of(truth.category_ids, 10)}.'
        )
    if not math.isfinite(result['score']):
        raise UserError(
            f'video {video_id}, {where}: score must be a finite number, got {result["score"]}.'
        )
    fault = length_fault(result['segmentations'], truth.videos[truth.video_index[video_id]].entry)
    if fault is not None:
        raise UserError(f'video {video_id}, {where}: {fault}')


def _intersections(
    tracks: list[list[RLE | None]],
    areas: np.ndarray,
    truths: list[list[RLE | None]],
    truth_areas: np.ndarray,
    least_iou: float,
) -> np.ndarray:
    """Pixels in common (D, G, T) int64 of D tracks and G objects of one video.

    Left at 0 are pairs that cannot reach ``least_iou``: in a frame, two masks have at most the
    pixels of the smaller one in common.
    """
    most = np.minimum(areas[:, None], truth_areas).sum(axis=-1)
    pixels = areas.sum(axis=-1)[:, None] + truth_areas.sum(axis=-1)
    # An IoU of x / (pixels - x) for x pixels in common.
    wanted = most >= least_iou / (1 + least_iou) * pixels
    common = np.zeros((len(tracks), len(truths), areas.shape[1]), np.int64)
    shown = (areas > 0) & wanted.any(axis=1)[:, None]
    truth_shown = (truth_areas > 0) & wanted.any(axis=0)[:, None]
    columns_of = _true_per_column(truth_shown)
    for frame, rows in enumerate(_true_per_column(shown)):
        columns = columns_of[frame]
        if not len(rows) or not len(columns):
            continue
        shares = mask_utils.iou(
            [tracks[row][frame] for row in rows.tolist()],
            [truths[column][frame] for column in columns.tolist()],
            [1] * len(columns),
        )
        common[rows[:, None], columns, frame] = np.rint(shares * areas[rows, frame, None])
    return common


def _true_per_column(values: np.ndarray) -> list[np.ndarray]:
    """The rows that are true in each column, of (N, T) bool."""
    columns, rows = np.nonzero(values.T)
    ends = np.searchsorted(columns, np.arange(values.shape[1]), side='right').tolist()
    return [rows[begin:end] for begin, end in itertools.pairwise([0, *ends])]
