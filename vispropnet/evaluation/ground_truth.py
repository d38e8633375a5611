"""The annotated objects that results are scored against."""

from __future__ import annotations

import math
import os
import reprlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vispropnet.datasets.rle import RLE, examine_rles, length_fault
from vispropnet.errors import UserError
from vispropnet.fileio import read_json


@dataclass(frozen=True)
class VideoTruth:
    """A video and its annotated objects, G of them over T frames.

    Attributes:
        entry: Entry of the annotation file; ``length``, ``height`` and ``width`` are filled in
            where they can be known.
        objects: (G,) int64, positions in the arrays of :class:`GroundTruth`.
        masks: G lists with a compressed RLE or None per frame.
        areas: (G, T) int64, pixels of each mask, 0 where there is none.
    """

    entry: dict[str, Any]
    objects: np.ndarray
    masks: list[list[RLE | None]]
    areas: np.ndarray


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


def read_annotations(path: str | os.PathLike) -> dict[str, Any]:
    """Reads an annotation file to score against.

    Args:
        path: The file, in YouTube-VIS form.

    Returns:
        Its content.

    Raises:
        UserError: if it cannot be read, or has nothing to score against (see
            :func:`check_annotations`).
    """
    annotations = read_json(path, 'annotation file')
    check_annotations(annotations, f'annotation file {path}')
    return annotations


def check_annotations(annotations: Any, where: str = 'the annotations') -> None:
    """Checks that there is ground truth to score against.

    Args:
        annotations: Content of an annotation file.
        where: How messages call it.

    Raises:
        UserError: if a part of the file is missing, it has no ``annotations``, or no annotated
            object that counts: one that is no crowd and of a listed video and category.
    """
    if not isinstance(annotations, dict):
        hint = ', not a list, which is what a result file holds' * isinstance(annotations, list)
        raise UserError(
            f'{where}: must be an object with videos, categories and annotations{hint}.'
        )
    for key in ('videos', 'categories'):
        if not isinstance(annotations.get(key), list):
            raise UserError(
                f"{where}: '{key}' must be a list, got {reprlib.repr(annotations.get(key))}."
            )
    if annotations.get('annotations') is None:
        raise UserError(
            f"{where}: no key 'annotations', so there is nothing to score against (the ground "
            f'truth of the official validation and test sets is hidden). {_SPLIT_HINT}'
        )
    videos = _by_id(annotations, 'videos', where)
    categories = _by_id(annotations, 'categories', where)
    if not isinstance(annotations['annotations'], list):
        raise UserError(f"{where}: 'annotations' must be a list.")
    for index, truth in enumerate(annotations['annotations']):
        if not isinstance(truth, dict):
            raise UserError(
                f'{where}: annotations[{index}] must be an object, got {reprlib.repr(truth)}.'
            )
        for key in ('video_id', 'category_id'):
            if isinstance(truth.get(key), (list, dict)):
                raise UserError(
                    f'{where}: annotations[{index}] (id {truth.get("id")}): {key!r} must be an '
                    f'integer, got {reprlib.repr(truth[key])}.'
                )
    if not any(
        _listed(truth, videos, categories) and not truth.get('iscrowd', 0)
        for truth in annotations['annotations']
    ):
        raise UserError(
            f'{where}: no annotated objects (of its videos and categories, crowds left out), so '
            f'there is nothing to score against. {_SPLIT_HINT}'
        )


def ground_truth(annotations: dict[str, Any]) -> GroundTruth:
    """Prepares the objects of the listed videos and categories.

    Args:
        annotations: Content of an annotation file, not changed.

    Returns:
        The objects. Their ids play no part: in the reference evaluator an object with id 0 cannot
        be found.

    Raises:
        UserError: if there is nothing to score against, or an object does not fit its video.
    """
    check_annotations(annotations)
    entries = _by_id(annotations, 'videos')
    categories = _by_id(annotations, 'categories')
    by_video = defaultdict(list)
    for index, truth in enumerate(annotations['annotations']):
        if _listed(truth, entries, categories):
            by_video[truth['video_id']].append((f'annotations[{index}]', truth))
    video_ids, category_ids = sorted(entries), sorted(categories)
    label = {category_id: index for index, category_id in enumerate(category_ids)}
    videos: list[VideoTruth] = []
    truths: list[dict[str, Any]] = []
    for video_id in video_ids:
        videos.append(_video_truth(entries[video_id], by_video[video_id], len(truths)))
        truths.extend(truth for _, truth in by_video[video_id])
    length, hidden = _visibility(videos)
    return GroundTruth(
        videos=videos,
        video_index={video_id: index for index, video_id in enumerate(video_ids)},
        category_ids=category_ids,
        category_names=[str(categories[one].get('name', one)) for one in category_ids],
        video=np.repeat(np.arange(len(videos)), [len(video.objects) for video in videos]),
        category=np.array([label[truth['category_id']] for truth in truths], np.int64),
        crowd=np.array([bool(truth.get('iscrowd', 0)) for truth in truths], bool),
        area=np.array(
            [
                mean_area(areas if truth.get('areas') is None else truth['areas'])
                for truth, areas in zip(truths, _rows(videos), strict=True)
            ],
            np.float64,
        ),
        length=length,
        hidden=hidden,
        left_out=len(annotations['annotations']) - len(truths),
    )


def mean_area(areas: Any) -> float:
    """Mean of the areas that are neither None nor 0, as the reference evaluator takes it.

    Args:
        areas: An area or None per frame.

    Returns:
        Their mean; 0 if there are none.
    """
    present = [area for area in areas if area]
    return float(np.mean(present)) if present else 0.0


def frame_place(entry: dict[str, Any], frame: int) -> str:
    """How messages call a frame.

    Args:
        entry: The video's entry of the annotation file.
        frame: Index of the frame.

    Returns:
        Its index and, where the file gives one, its file name.
    """
    names = entry.get('file_names') or []
    return f'frame {frame} ({names[frame]})' if frame < len(names) else f'frame {frame}'


def _video_truth(entry: dict, truths: list[tuple[str, dict]], first: int) -> VideoTruth:
    """Checks the masks of a video's objects; the first object gets the position ``first``."""
    entry = _with_length(entry, [truth for _, truth in truths])
    places, flat = [], []
    for row, (where, truth) in enumerate(truths):
        where = f'video {entry["id"]}, {where} (id {truth.get("id")})'
        if 'segmentations' not in truth:
            raise UserError(f"{where}: no key 'segmentations'.")
        fault = length_fault(truth['segmentations'], entry)
        if fault is not None:
            raise UserError(f'{where}: {fault}')
        if not _are_areas(truth.get('areas')):
            raise UserError(f"{where}: 'areas' must be a list of numbers from 0 on, or null.")
        for frame, mask in enumerate(truth['segmentations']):
            if mask:
                places.append((row, frame, where))
                flat.append(mask)
    rles, pixels, faults = examine_rles(flat, [entry] * len(flat))
    if rles and not faults and not {'height', 'width'} <= entry.keys():
        height, width = rles[0]['size']
        entry = {'height': height, 'width': width, **entry}
        rles, pixels, faults = examine_rles(rles, [entry] * len(rles))
    for index, fault in faults.items():
        _, frame, where = places[index]
        raise UserError(f'{where}, {frame_place(entry, frame)}: {fault}')
    frames = entry.get('length', 0)
    masks: list[list[RLE | None]] = [[None] * frames for _ in truths]
    areas = np.zeros((len(truths), frames), np.int64)
    for (row, frame, _), rle, area in zip(places, rles, pixels, strict=True):
        masks[row][frame] = rle
        areas[row, frame] = area
    return VideoTruth(entry, first + np.arange(len(truths)), masks, areas)


def _with_length(entry: dict, truths: list[dict]) -> dict:
    """A video's entry with its length, from its frames or objects where it does not tell it."""
    names = entry.get('file_names', [])
    if not isinstance(names, list):
        raise UserError(
            f"video {entry['id']}: 'file_names' must be a list, got {reprlib.repr(names)}."
        )
    if 'length' not in entry:
        tracks = (truth.get('segmentations') for truth in truths)
        frames = names or next((one for one in tracks if one and isinstance(one, list)), [])
        return {**entry, 'length': len(frames)} if names or truths else entry
    length = entry['length']
    if type(length) is not int or not 0 <= length < 1 << 31:
        raise UserError(
            f"video {entry['id']}: 'length' must be a number of frames, got {length!r}."
        )
    return entry


def _are_areas(areas: Any) -> bool:
    """Whether these can be an object's areas: None, or a number or None per frame."""
    if areas is None:
        return True
    return isinstance(areas, list) and all(
        area is None or (isinstance(area, (int, float)) and 0 <= area < math.inf) for area in areas
    )


def _rows(videos: list[VideoTruth]) -> Iterator[list[int]]:
    for video in videos:
        yield from video.areas.tolist()


def _visibility(videos: list[VideoTruth]) -> tuple[np.ndarray, np.ndarray]:
    """Frames where each object shows, and the share without it from its first to its last."""
    length, hidden = [], []
    for video in videos:
        for areas in video.areas:
            shown = np.flatnonzero(areas)
            span = int(shown[-1] - shown[0]) + 1 if len(shown) else 1
            length.append(len(shown))
            hidden.append(1 - len(shown) / span if len(shown) else 0.0)
    return np.array(length, np.int64), np.array(hidden, np.float64)


_SPLIT_HINT = (
    'To score at home, split a validation set off the training set: python tools/split_ytvis.py '
    'TRAIN.json --val-fraction 0.1 --seed 0 --out-dir DIR, train on DIR/train.json and score on '
    'DIR/valid.json.'
)


def _listed(truth: dict, videos: dict, categories: dict) -> bool:
    return truth.get('video_id') in videos and truth.get('category_id') in categories


def _by_id(annotations: dict, key: str, where: str = 'the annotations') -> dict[Any, dict]:
    for index, entry in enumerate(annotations[key]):
        if not isinstance(entry, dict) or type(entry.get('id')) is not int:
            raise UserError(f"{where}: {key}[{index}] must be an object with an integer 'id'.")
    by_id: dict[Any, dict] = {}
    for index, entry in enumerate(annotations[key]):
        if entry['id'] in by_id:
            raise UserError(f'{where}: {key}[{index}]: id {entry["id"]} stands twice.')
        by_id[entry['id']] = entry
    return by_id
