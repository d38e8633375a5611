"""Reads tracks one by one and measures how they overlap the annotated objects of their video."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
        entries: (N,) int64, position of each track among the results, of which some are left out.
    """

    truth: GroundTruth
    video: np.ndarray
    category: np.ndarray
    score: np.ndarray
    area: np.ndarray
    length: np.ndarray
    ious: list[np.ndarray]
    frames: list[tuple[np.ndarray, np.ndarray]] | None
    entries: np.ndarray | None = None


def measure_tracks(
    truth: GroundTruth, results: Iterable[Mapping[str, Any]], frame_by_frame: bool = False
) -> Tracks:
    """Checks tracks and measures their overlaps.

    Masks are let go of batch by batch, so ``results`` may be a generator over a file that does not
    fit into memory.

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
    tracks: list[_Track] = []
    measured = masks = 0
    for index, result in enumerate(results):
        _check_entry(result, f'result entry {index}', truth, label)
        video, category = truth.video_index[result['video_id']], label[result['category_id']]
        tracks.append(_Track(video, category, float(result['score']), result['segmentations']))
        masks += len(tracks[-1].masks)
        if masks >= _BATCH_MASKS:
            _measure_batch(truth, tracks[measured:], measured, frame_by_frame)
            measured, masks = len(tracks), 0
    _measure_batch(truth, tracks[measured:], measured, frame_by_frame)
    entries = [index for index, track in enumerate(tracks) if track.counts]
    tracks = [tracks[index] for index in entries]
    return Tracks(
        truth=truth,
        video=np.array([track.video for track in tracks], np.int64),
        category=np.array([track.category for track in tracks], np.int64),
        score=np.array([track.score for track in tracks], np.float64),
        area=np.array([track.area for track in tracks], np.float64),
        length=np.array([track.length for track in tracks], np.int64),
        ious=[track.ious for track in tracks],
        frames=[track.frames for track in tracks] if frame_by_frame else None,
        entries=np.array(entries, np.int64),
    )


@dataclass(slots=True)
class _Track:
    """A track of :class:`Tracks`, and its masks until it is measured."""

    video: int
    category: int
    score: float
    masks: list[RLE | None]
    area: float = 0.0
    length: int = 0
    counts: bool = True
    ious: np.ndarray | None = None
    frames: tuple[np.ndarray, np.ndarray] | None = None


def _measure_batch(
    truth: GroundTruth, batch: list[_Track], first: int, frame_by_frame: bool
) -> None:
    """Measures tracks, of which the first is the result entry ``first``; their masks go."""
    groups = defaultdict(list)
    for track, areas in zip(batch, _compress_masks(truth, batch, first), strict=True):
        objects = len(truth.videos[track.video].objects)
        annotated, has_masks = truth.videos[track.video].annotated, areas.any()
        if annotated is not None:
            areas[~annotated] = 0
        track.counts = bool(areas.any() or not has_masks)
        track.length = int(np.count_nonzero(areas))
        track.area = int(areas.sum()) / max(track.length, 1)
        track.ious = np.zeros(objects)
        if frame_by_frame:
            track.frames = np.zeros((objects, len(areas)), np.int32), areas.copy()
        # Measured frame by frame, tracks are held against objects of all categories.
        groups[track.video, None if frame_by_frame else track.category].append((track, areas))
    for (video_index, category), members in groups.items():
        video = truth.videos[video_index]
        own = np.arange(len(video.objects))
        if category is not None:
            own = own[truth.category[video.objects] == category]
        if len(own):
            _measure_group(video, own, members, frame_by_frame)
    for track in batch:
        track.masks = []


def _compress_masks(truth: GroundTruth, batch: list[_Track], first: int) -> list[np.ndarray]:
    """Compresses the masks of tracks; gives the areas (T,) of each."""
    flat = [mask for track in batch for mask in track.masks]
    row_of = [row for row, track in enumerate(batch) for _ in track.masks]
    begins = np.cumsum([0, *(len(track.masks) for track in batch)]).tolist()
    entries = [truth.videos[track.video].entry for track in batch]
    present = [at for at, mask in enumerate(flat) if not is_no_mask(mask)]
    rles, pixels, faults = examine_rles(
        [flat[at] for at in present], [entries[row_of[at]] for at in present]
    )
    for number, fault in faults.items():
        row = row_of[present[number]]
        place = frame_place(entries[row], present[number] - begins[row])
        raise UserError(f'video {entries[row]["id"]}, result entry {first + row}, {place}: {fault}')
    for at, rle in zip(present, rles, strict=True):
        flat[at] = rle
    areas = np.zeros(len(flat), np.int64)
    areas[present] = pixels
    spans = [slice(begin, end) for begin, end in itertools.pairwise(begins)]
    for track, span in zip(batch, spans, strict=True):
        track.masks = flat[span]
    return [areas[span] for span in spans]


def _measure_group(
    video: VideoTruth,
    own: np.ndarray,
    tracks: list[tuple[_Track, np.ndarray]],
    frame_by_frame: bool,
) -> None:
    """Measures tracks of one video, given with their areas, with the objects ``own`` of it."""
    areas = np.stack([areas for _, areas in tracks])  # (D, T)
    common = _intersections(
        [track.masks for track, _ in tracks],
        areas,
        [video.masks[column] for column in own],
        video.areas[own],
        least_iou=0.0 if frame_by_frame else IOU_THRESHOLDS[0],
    )
    intersections = common.sum(axis=-1)
    unions = areas.sum(axis=-1)[:, None] + video.areas[own].sum(axis=-1) - intersections
    ious = intersections / np.maximum(unions, 1)
    for row, (track, _) in enumerate(tracks):
        track.ious[own] = ious[row]
        if frame_by_frame:
            track.frames[0][own] = common[row]


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
    pixels of the smaller one in common. With its crowd flag, the IoU of pycocotools is the
    intersection by the area of the track's mask, from which the whole number follows.
    """
    most = np.minimum(areas[:, None], truth_areas).sum(axis=-1)
    pixels = areas.sum(axis=-1)[:, None] + truth_areas.sum(axis=-1)
    # An IoU of x / (pixels - x) for x pixels in common.
    wanted = most >= least_iou / (1 + least_iou) * pixels
    common = np.zeros((len(tracks), len(truths), areas.shape[1]), np.int64)
    shown = (areas > 0) & wanted.any(axis=1)[:, None]
    truth_shown = (truth_areas > 0) & wanted.any(axis=0)[:, None]
    for frame in np.flatnonzero(shown.any(axis=0) & truth_shown.any(axis=0)).tolist():
        rows, columns = np.flatnonzero(shown[:, frame]), np.flatnonzero(truth_shown[:, frame])
        shares = mask_utils.iou(
            [tracks[row][frame] for row in rows.tolist()],
            [truths[column][frame] for column in columns.tolist()],
            [1] * len(columns),
        )
        common[rows[:, None], columns, frame] = np.rint(shares * areas[rows, frame, None])
    return common
