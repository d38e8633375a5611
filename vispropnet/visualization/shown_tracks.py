"""The tracks that pictures show: read, checked, and numbered so that an object has one colour."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from scipy.optimize import linear_sum_assignment

from vispropnet.datasets.rle import checked_rles
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import iter_results, key_fault, propagated_frames

SAME_OBJECT_IOU = 0.5


@dataclass
class ShownTrack:
    """A track to be drawn."""

    label: int  # category id
    score: float | None  # None for a true one
    rles: list[dict | None]  # per frame, compressed
    propagated: list[bool]  # per frame, of masks carried over from another frame
    number: int = 0  # stands for colour and label, from 1; 0 before number_tracks


def sound_entries(path: str | os.PathLike) -> Iterator[dict[str, Any]]:
    """Reads the tracks of a result file, or of the archive made of it, one by one.

    Raises:
        UserError: naming file, entry and key, where a track lacks one.
    """
    for index, entry in enumerate(iter_results(path, progress=True)):
        if (fault := key_fault(entry)) is not None:
            raise UserError(f'result file {path}: entry {index}{fault}')
        yield entry


def select_tracks(
    entries: Iterable[Mapping[str, Any]],
    videos: Sequence[Mapping[str, Any]],
    threshold: float,
    categories: Mapping[int, str],
    source: str = '',
) -> dict[int, list[ShownTrack]]:
    """Keeps the tracks to be shown, and checks those.

    Args:
        entries: Tracks of a result file; taken one by one.
        videos: Entries of the annotation file to be shown.
        threshold: Tracks below this score are left out.
        categories: The known category ids.
        source: What messages begin with.

    Returns:
        By video id its tracks in the order of the file.

    Raises:
        UserError: naming the entry, if a track to be shown does not fit its video.
    """
    by_id = {video['id']: video for video in videos}
    tracks: dict[int, list[ShownTrack]] = {key: [] for key in by_id}
    for index, entry in enumerate(entries):
        video = by_id.get(entry['video_id'])
        if video is None or entry['score'] < threshold:
            continue
        where, label = f'{source}result entry {index}', entry['category_id']
        if label not in categories:
            raise UserError(f'{where}: category_id {label} is not among the categories.')
        rles = checked_rles(entry['segmentations'], video, where)
        propagated = propagated_frames(entry, len(video['file_names']), where)
        tracks[video['id']].append(ShownTrack(label, entry['score'], rles, propagated))
    return tracks


def true_tracks(content: Mapping[str, Any], video: Mapping[str, Any]) -> list[ShownTrack]:
    """Gives the tracks that an annotation file has of a video, in the order of the file.

    Raises:
        UserError: naming the annotation, if it does not fit.
    """
    tracks = []
    for index, truth in enumerate(content['annotations']):
        if truth['video_id'] == video['id']:
            rles = checked_rles(truth['segmentations'], video, f'annotations[{index}]')
            tracks.append(ShownTrack(truth['category_id'], None, rles, [False] * len(rles)))
    return tracks


def number_tracks(truth: Sequence[ShownTrack], *results: Sequence[ShownTrack]) -> None:
    """Numbers the tracks of a video from 1, so that one object has one number everywhere.

    A result track that follows a true one, with an IoU of at least 0.5 over the whole video, takes
    its number. One that follows none takes the number of a track that it follows in an earlier
    result, where that has none of the truth either; otherwise a number of its own.

    Args:
        truth: True tracks; may be empty. Changed, as are the others.
        results: The tracks of each result.
    """
    for number, track in enumerate(truth, start=1):
        track.number = number
    free = itertools.count(len(truth) + 1)
    pools = [list(truth)]
    for tracks in results:
        for pool in pools:
            _take_numbers(pool, [track for track in tracks if not track.number])
        pools.append([track for track in tracks if not track.number])
        for track in pools[-1]:
            track.number = next(free)


def track_ious(first: Sequence[ShownTrack], second: Sequence[ShownTrack]) -> np.ndarray:
    """Gives the (N, M) IoU of N and M whole tracks of a video, summed over all frames."""
    both = np.zeros((len(first), len(second)))
    areas = [np.zeros(len(tracks)) for tracks in (first, second)]
    for frame in range(len(first[0].rles) if first and second else 0):
        shown, masks, sizes = [], [], []
        for tracks, total in zip((first, second), areas, strict=True):
            present = [index for index, track in enumerate(tracks) if track.rles[frame]]
            masks.append([tracks[index].rles[frame] for index in present])
            # One by one: of 256 masks and more together, pycocotools gives no areas.
            sizes.append(np.array([mask_utils.area(mask) for mask in masks[-1]], float))
            total[present] += sizes[-1]
            shown.append(present)
        if all(shown):
            ious = mask_utils.iou(*masks, [0] * len(masks[1]))
            sums = sizes[0][:, None] + sizes[1]
            both[np.ix_(*shown)] += np.rint(ious * sums / (1 + ious))
    return both / np.maximum(areas[0][:, None] + areas[1] - both, 1)


def _take_numbers(known, tracks):
    ious = track_ious(known, tracks)
    for row, column in zip(*linear_sum_assignment(-ious), strict=True):
        if ious[row, column] >= SAME_OBJECT_IOU:
            tracks[column].number = known[row].number
