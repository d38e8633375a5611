"""The annotated objects that results are scored against."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.annotation_values import read_crowd
from vispropnet.datasets.check_report import StrictReport
from vispropnet.datasets.file_entries import NO_VIDEO, Video
from vispropnet.datasets.rle import RLE, examine_rles
from vispropnet.datasets.track_masks import OTHER_SIZE, CheckedTrack
from vispropnet.fileio import read_json

# Share by which an object's mean area may be another than that of its masks without a word.
_AREA_TOLERANCE = 0.1


@dataclass(frozen=True)
class VideoTruth:
    """A video and its annotated objects, G of them over T frames.

    Attributes:
        entry: Entry of the annotation file; ``length``, ``height`` and ``width`` are filled in
            where they can be known.
        objects: (G,) int64, positions in the arrays of :class:`GroundTruth`.
        masks: G lists with a compressed RLE or None per frame.
        areas: (G, T) int64, pixels of each mask, 0 where there is none.
        annotated: (T,) bool, the frames that count; None for all.
    """

    entry: dict[str, Any]
    objects: np.ndarray
    masks: list[list[RLE | None]]
    areas: np.ndarray
    annotated: np.ndarray | None = None

    def counted_areas(self) -> np.ndarray:
        """Areas (G, T') of the T' frames that count."""
        return self.areas if self.annotated is None else self.areas[:, self.annotated]


@dataclass(frozen=True)
class GroundTruth:
    """All annotated objects, N of them, video by video.

    Attributes:
        videos: Ordered by id.
        video_index: Position in ``videos`` of each video id.
        category_ids: Ordered.
        category_names: In the same order.
        video: (N,) int64, position of each object's video.
        category: (N,) int64, position of each object's category.
        crowd: (N,) bool.
        area: (N,) float64, mean area over the frames where the file gives one; the reference
            evaluator takes the file's ``areas``, not the masks'.
        length: (N,) int64, frames where the object shows.
        hidden: (N,) float64, share of frames without a mask from its first to its last.
        left_out: How many annotations are of no listed video or category, and so not here.
        notes: What of the file may change metrics, to be said with them.
    """

    videos: list[VideoTruth]
    video_index: dict[Any, int]
    category_ids: list[Any]
    category_names: list[str]
    video: np.ndarray
    category: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    length: np.ndarray
    hidden: np.ndarray
    left_out: int = 0
    notes: Sequence[str] = ()


def read_ground_truth(
    path: str | os.PathLike,
    annotated_only: bool = False,
    categories: Mapping[int, int] | None = None,
) -> GroundTruth:
    """Reads the objects to score against from an annotation file; see :func:`ground_truth`."""
    content = read_json(path, 'annotation file')
    return ground_truth(content, f'annotation file {path}', annotated_only, categories)


def ground_truth(
    annotations: Any,
    where: str = '',
    annotated_only: bool = False,
    categories: Mapping[int, int] | None = None,
) -> GroundTruth:
    """Prepares the objects of the listed videos and categories.

    Sizes and file names of videos, names of categories and ids of annotations may be missing. All
    else is as the rules have it (:mod:`vispropnet.datasets.annotation_rules`), but annotations of
    no listed video or category play no part, nor do ids: in the reference evaluator an object with
    id 0 cannot be found.

    Args:
        annotations: Content of an annotation file, not changed.
        where: Name of the file in messages.
        annotated_only: Whether only frames count that show an object, in videos that do not list
            theirs under ``annotated_frames``.
        categories: Ids of the categories that count, each with the id of that which it counts as;
            by default all, as themselves.

    Returns:
        The objects.

    Raises:
        UserError: for the first error, also if there is nothing to score against.
    """
    report = StrictReport(where, tolerated=('unknown video', 'unknown category'))
    file = AnnotationFile(annotations, report, True, annotated_only)
    if file.annotations is None:
        text = (
            "no key 'annotations', so there is nothing to score against (the ground truth of the "
            f'official validation and test sets is hidden). {_SPLIT_HINT}'
        )
        report.error('no annotations', text)
    counted_as = {one: one for one in file.categories} if categories is None else categories
    by_video: dict[int, list[CheckedTrack]] = defaultdict(list)
    for checked in file.checked_tracks(file.annotations):
        track = checked.track
        if track.video is not NO_VIDEO and track.value['category_id'] in counted_as:
            by_video[track.value['video_id']].append(checked)
    file.note_sparse_frames()
    video_ids, category_ids = sorted(file.by_id), sorted(set(counted_as.values()))
    label = {category_id: index for index, category_id in enumerate(category_ids)}
    videos: list[VideoTruth] = []
    truths: list[dict[str, Any]] = []
    for video_id in video_ids:
        video = file.by_id[video_id]
        annotated = file.annotated_frames(video)
        videos.append(_video_truth(video, by_video[video_id], len(truths), annotated))
        truths.extend(checked.track.value for checked in by_video[video_id])
    areas = [row for video in videos for row in video.areas]
    crowd = np.array([read_crowd(truth) for truth in truths], bool)
    if crowd.all():
        text = (
            'no annotated objects (of its videos and categories, crowds left out), so there is '
            f'nothing to score against. {_SPLIT_HINT}'
        )
        report.error('nothing to score against', text)
    area = np.array([_mean_area(*one) for one in zip(truths, areas, strict=True)], np.float64)
    own_area = np.array([_mean_area({}, row) for row in areas], np.float64)
    if others := np.count_nonzero(np.abs(area - own_area) > 1 + _AREA_TOLERANCE * own_area):
        text = f"the 'areas' of {others} of {len(area)} objects are not those of their masks"
        report.note('areas', f'{text}: APs to APl and ARs to ARl go by the areas')
    counted = [row for video in videos for row in video.counted_areas()]
    names = file.categories
    return GroundTruth(
        videos=videos,
        video_index={video_id: index for index, video_id in enumerate(video_ids)},
        category_ids=category_ids,
        category_names=[str(one if names.get(one) is None else names[one]) for one in category_ids],
        video=np.repeat(np.arange(len(videos)), [len(video.objects) for video in videos]),
        category=np.array([label[counted_as[one['category_id']]] for one in truths], np.int64),
        crowd=crowd,
        area=area,
        length=np.array([np.count_nonzero(row) for row in counted], np.int64),
        hidden=np.array([_share_hidden(row) for row in counted], np.float64),
        left_out=len(annotations['annotations']) - len(truths),
        notes=report.notes(),
    )


def frame_place(entry: dict[str, Any], frame: int) -> str:
    """Names a frame in messages, by its index and, where the video's entry has one, file name."""
    names = entry.get('file_names') or []
    return f'frame {frame} ({names[frame]})' if frame < len(names) else f'frame {frame}'


def _video_truth(
    video: Video, tracks: list[CheckedTrack], first: int, annotated: list[int] | None
) -> VideoTruth:
    """Gathers the objects of a video; the first one gets the position ``first``.

    Length and size are those of the first object where the file does not say them.
    """
    frames = video.frames
    if frames is None and tracks:
        frames = len(tracks[0].track.masks)
    known, is_sized = video.known, {'height', 'width'} <= video.known.keys()
    masks: list[list[RLE | None]] = [[None] * (frames or 0) for _ in tracks]
    areas = np.zeros((len(tracks), frames or 0), np.int64)
    for row, checked in enumerate(tracks):
        checked.track.check_length('segmentations', frames)
        if checked.rles and not is_sized:
            height, width = checked.rles[0]['size']
            known = {'height': height, 'width': width, **known}
            _, _, faults = examine_rles(checked.rles, [known] * len(checked.rles))
            for at, fault in faults.items():
                checked.track.error(OTHER_SIZE, fault, checked.frames[at])
        areas[row, checked.frames] = checked.areas
        for frame, rle in zip(checked.frames, checked.rles, strict=True):
            masks[row][frame] = rle
    length = {} if frames is None else {'length': frames}
    entry, objects = {**video.value, **known, **length}, first + np.arange(len(tracks))
    counts = None if annotated is None else np.isin(np.arange(frames or 0), annotated)
    return VideoTruth(entry, objects, masks, areas, counts)


def _mean_area(truth: dict[str, Any], areas: np.ndarray) -> float:
    """Mean of the areas that are neither None nor 0, as the reference evaluator takes it.

    They are the annotation's, or if it gives none, those of its masks (T,).
    """
    given = areas.tolist() if truth.get('areas') is None else truth['areas']
    present = [area for area in given if area]
    return float(np.mean(present)) if present else 0.0


def _share_hidden(areas: np.ndarray) -> float:
    """Share of frames without an object, of areas (T,), from its first to its last."""
    shown = np.flatnonzero(areas)
    return 1 - len(shown) / (shown[-1] - shown[0] + 1) if len(shown) else 0.0


_SPLIT_HINT = (
    'To score at home, split a validation set off the training set: python tools/split_ytvis.py '
    'TRAIN.json --val-fraction 0.1 --seed 0 --out-dir DIR, train on DIR/train.json and score on '
    'DIR/valid.json.'
)
