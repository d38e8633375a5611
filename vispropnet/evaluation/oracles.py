"""Results in which one thing is taken from the truth: what limits a method shows in what it gains.

Kinds of errors mend one track at a time, at one threshold; here all tracks are made anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vispropnet.evaluation.average_precision import plain_metrics
from vispropnet.evaluation.ground_truth import GroundTruth, VideoTruth
from vispropnet.evaluation.matching import area_bins, match_tracks
from vispropnet.evaluation.overlaps import measure_tracks
from vispropnet.evaluation.result_file import RESULT_KEYS

ORACLES = {
    'masks': "every mask on an object becomes the object's",
    'propagated-masks': 'the same of the masks that were propagated',
    'linking': 'in each frame the best mask on an object goes to one track of the object',
    'detections': 'objects are found in every frame, once; what is on no object goes',
}
# From this IoU on, in a frame, a mask is on the object that it overlaps most.
_ON_OBJECT = 0.1


@dataclass
class _Track:
    """A track that is being mended."""

    entry: dict[str, Any]
    on: np.ndarray  # (T,) position of the object that a mask is on, -1 for none
    ious: np.ndarray  # (T,) with that object
    propagated: Sequence[bool] = ()  # by frame; empty for tracks made here


def oracle_metrics(
    truth: GroundTruth, results: Sequence[dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """Scores the results with each oracle.

    Returns:
        By oracle the twelve metrics.

    Raises:
        UserError: if a track does not fit the annotations.
    """
    metrics = {}
    for oracle in ORACLES:
        tracks = measure_tracks(truth, mend_results(truth, results, oracle))
        metrics[oracle] = plain_metrics(match_tracks(tracks, area_bins(tracks)))
    return metrics


def mend_results(
    truth: GroundTruth, results: Sequence[dict[str, Any]], oracle: str
) -> list[dict[str, Any]]:
    """Takes one thing from the truth, and leaves the rest as it is.

    A mask is on the object that it overlaps most in its frame, of any category but a crowd, with an
    IoU of at least 0.1. Scores and categories stay; a track that linking makes has the mean score
    of its masks' tracks and the category that most of that score is of. The oracle of detections
    gives a mask that is missing to the track that was on the object before, unless that is on
    another one there; objects that no track is ever on get one of score 1, of the true category.

    Args:
        truth: The annotated objects.
        results: Tracks as in a result file; not changed.
        oracle: One of ``ORACLES``.

    Returns:
        The tracks, by video; those that lose all their masks are left out.

    Raises:
        UserError: if a track does not fit the annotations.
        ValueError: for another oracle.
    """
    if oracle not in ORACLES:
        raise ValueError(f'oracle must be one of {", ".join(ORACLES)}, got {oracle!r}')
    tracks = measure_tracks(truth, results, frame_by_frame=True)
    mended = []
    by_video = defaultdict(list)
    for row, entry in enumerate(results):
        by_video[int(tracks.video[row])].append((entry, *tracks.frames[row]))
    for number, video in enumerate(truth.videos):
        own = [_placed(truth, video, *one) for one in by_video[number]]
        if oracle == 'linking':
            own = _link(own)
        elif oracle == 'detections':
            own = _detect(truth, video, own)
        else:
            _take_masks(video, own, propagated_only=oracle == 'propagated-masks')
        mended += [one.entry for one in own if any(one.entry['segmentations'])]
    return mended


def _placed(
    truth: GroundTruth,
    video: VideoTruth,
    entry: dict[str, Any],
    common: np.ndarray,
    areas: np.ndarray,
) -> _Track:
    """A copy of a track, and the objects that its masks are on."""
    propagated = entry.get('propagated') or [False] * len(areas)
    entry = {key: entry[key] for key in RESULT_KEYS}
    entry['segmentations'] = list(entry['segmentations'])
    if not len(video.objects):
        return _Track(entry, np.full(len(areas), -1), np.zeros(len(areas)), propagated)
    ious = common / np.maximum(video.areas + areas - common, 1)
    ious[truth.crowd[video.objects]] = 0
    best = ious.max(axis=0)
    on = np.where(best >= _ON_OBJECT, ious.argmax(axis=0), -1)
    return _Track(entry, on, best, propagated)


def _take_masks(video: VideoTruth, tracks: list[_Track], propagated_only: bool) -> None:
    for track in tracks:
        for frame in np.flatnonzero(track.on >= 0).tolist():
            if track.propagated[frame] or not propagated_only:
                track.entry['segmentations'][frame] = video.masks[track.on[frame]][frame]


def _best_masks(tracks: list[_Track]) -> dict[int, dict[int, _Track]]:
    """By object and frame the track whose mask on it is best."""
    best: dict[int, dict[int, _Track]] = defaultdict(dict)
    for track in tracks:
        for frame in np.flatnonzero(track.on >= 0).tolist():
            there = best[int(track.on[frame])].setdefault(frame, track)
            if track.ious[frame] > there.ious[frame]:
                best[int(track.on[frame])][frame] = track
    return best


def _link(tracks: list[_Track]) -> list[_Track]:
    made = []
    for number, frames in sorted(_best_masks(tracks).items()):
        scores: dict[int, float] = defaultdict(float)
        length = len(next(iter(frames.values())).on)
        masks, on, ious = [None] * length, np.full(length, -1), np.zeros(length)
        for frame, track in frames.items():
            masks[frame] = track.entry['segmentations'][frame]
            on[frame], ious[frame] = number, track.ious[frame]
            scores[track.entry['category_id']] += track.entry['score']
        entry = dict(
            video_id=track.entry['video_id'],
            category_id=max(scores, key=scores.get),
            score=sum(scores.values()) / len(frames),
            segmentations=masks,
        )
        made.append((_Track(entry, on, ious), frames))
    for _, frames in made:
        for frame, track in frames.items():
            track.entry['segmentations'][frame] = None
    return [*(track for track, _ in made), *tracks]


def _detect(truth: GroundTruth, video: VideoTruth, tracks: list[_Track]) -> list[_Track]:
    best = _best_masks(tracks)
    for track in tracks:
        for frame, on in enumerate(track.on.tolist()):
            if on < 0 or best[on][frame] is not track:
                track.entry['segmentations'][frame] = None
    made = []
    for number, row in enumerate(video.objects.tolist()):
        shown = np.flatnonzero(video.areas[number]).tolist()
        if truth.crowd[row] or not shown:
            continue
        if not best[number]:
            entry = dict(
                video_id=video.entry['id'],
                category_id=truth.category_ids[truth.category[row]],
                score=1.0,
                segmentations=list(video.masks[number]),
            )
            made.append(_Track(entry, np.full(len(video.masks[number]), number), np.array([])))
            continue
        last = None
        for frame in shown:
            last = best[number].get(frame, last)
            if frame not in best[number]:
                # Before its first one, the track that will be there.
                track = last or best[number][min(best[number])]
                if track.entry['segmentations'][frame] is None:
                    track.entry['segmentations'][frame] = video.masks[number][frame]
    return [*tracks, *made]
