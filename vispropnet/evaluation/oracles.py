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
from vispropnet.evaluation.result_file import RESULT_KEYS, propagated_frames

# What becomes of the tracks: docs/evaluation.md, "Oracles".
ORACLES = (
    'masks',
    'propagated-masks',
    'propagated-places',
    'propagation',
    'linking',
    'detections',
)
# From this IoU on, in a frame, a mask is on the object that it overlaps most.
_ON_OBJECT = 0.1


@dataclass
class _Track:
    """A track that is being mended."""

    entry: dict[str, Any]
    on: np.ndarray  # (T,) position of the object that a mask is on, -1 for none
    ious: np.ndarray  # (T,) with that object
    propagated: Sequence[bool]  # by frame

    def detected(self) -> np.ndarray:
        """Frames with a mask that was not propagated, rising."""
        masks = [mask is not None for mask in self.entry['segmentations']]
        return np.flatnonzero(np.array(masks) & ~np.array(self.propagated, dtype=bool))

    def own(self) -> int:
        """Position of the object that most of its detected masks are on, -1 for none."""
        on = self.on[self.detected()]
        return int(np.bincount(on[on >= 0]).argmax()) if (on >= 0).any() else -1


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
    IoU of at least 0.1. What is propagated belongs on the object that most detected masks of its
    track are on. Scores and categories stay; a track that linking makes has the mean score
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
    for row, index in enumerate(tracks.entries.tolist()):
        place = f'video {results[index]["video_id"]}, result entry {index}'
        by_video[int(tracks.video[row])].append((results[index], place, *tracks.frames[row]))
    for number, video in enumerate(truth.videos):
        own, made = [_placed(truth, video, *one) for one in by_video[number]], []
        if oracle == 'linking':
            made = _link(own)
        elif oracle == 'detections':
            made = _detect(truth, video, own)
        elif oracle == 'masks':
            _take_masks(video, own)
        else:
            _take_propagated(video, own, oracle)
        entries = [*made, *(one.entry for one in own)]
        mended += [entry for entry in entries if any(entry['segmentations'])]
    return mended


def _placed(
    truth: GroundTruth,
    video: VideoTruth,
    entry: dict[str, Any],
    place: str,
    common: np.ndarray,
    areas: np.ndarray,
) -> _Track:
    """A copy of a track, and the objects that its masks are on."""
    propagated = propagated_frames(entry, len(areas), place)
    entry = {key: entry[key] for key in RESULT_KEYS}
    # Some write masks of no pixel instead of none.
    masks = zip(entry['segmentations'], areas, strict=True)
    entry['segmentations'] = [mask if area else None for mask, area in masks]
    if not len(video.objects):
        return _Track(entry, np.full(len(areas), -1), np.zeros(len(areas)), propagated)
    ious = common / np.maximum(video.areas + areas - common, 1)
    ious[truth.crowd[video.objects]] = 0
    best = ious.max(axis=0)
    on = np.where(best >= _ON_OBJECT, ious.argmax(axis=0), -1)
    return _Track(entry, on, best, propagated)


def _take_masks(video: VideoTruth, tracks: list[_Track]) -> None:
    for track in tracks:
        for frame in np.flatnonzero(track.on >= 0).tolist():
            track.entry['segmentations'][frame] = video.masks[track.on[frame]][frame]


def _take_propagated(video: VideoTruth, tracks: list[_Track], oracle: str) -> None:
    """Takes from the truth the masks, the places, or all that propagation finds."""
    for track in tracks:
        masks, own, detected = track.entry['segmentations'], track.own(), track.detected()
        frames = np.flatnonzero(track.propagated)
        if oracle == 'propagation':
            first = int(detected[0]) if len(detected) else len(masks)
            frames = np.setdiff1d(np.arange(first, len(masks)), detected)
        for frame in frames.tolist():
            there = own >= 0 and int(track.on[frame]) == own
            if oracle == 'propagated-places':
                masks[frame] = masks[frame] if there else None
            elif oracle == 'propagation':
                shown = own >= 0 and video.areas[own][frame] > 0
                masks[frame] = video.masks[own][frame] if shown else None
            elif there:
                masks[frame] = video.masks[own][frame]


def _best_masks(tracks: list[_Track]) -> dict[int, dict[int, _Track]]:
    """By object and frame the track whose mask on it is best."""
    best: dict[int, dict[int, _Track]] = defaultdict(dict)
    for track in tracks:
        for frame in np.flatnonzero(track.on >= 0).tolist():
            there = best[int(track.on[frame])].setdefault(frame, track)
            if track.ious[frame] > there.ious[frame]:
                best[int(track.on[frame])][frame] = track
    return best


def _link(tracks: list[_Track]) -> list[dict[str, Any]]:
    """Takes the best masks out of the tracks, and gives the tracks made of them."""
    made, taken = [], []
    for _, frames in sorted(_best_masks(tracks).items()):
        scores: dict[int, float] = defaultdict(float)
        masks: list[Any] = [None] * len(tracks[0].on)
        for frame, track in frames.items():
            masks[frame] = track.entry['segmentations'][frame]
            scores[track.entry['category_id']] += track.entry['score']
            taken.append((track, frame))
        made.append(
            dict(
                video_id=tracks[0].entry['video_id'],
                category_id=max(scores, key=scores.get),
                score=sum(scores.values()) / len(frames),
                segmentations=masks,
            )
        )
    for track, frame in taken:
        track.entry['segmentations'][frame] = None
    return made


def _detect(truth: GroundTruth, video: VideoTruth, tracks: list[_Track]) -> list[dict[str, Any]]:
    """Completes the tracks, and gives those of objects that none was on."""
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
            made.append(
                dict(
                    video_id=video.entry['id'],
                    category_id=truth.category_ids[truth.category[row]],
                    score=1.0,
                    segmentations=list(video.masks[number]),
                )
            )
            continue
        # Before the first of its masks, the track that will have that one.
        last = best[number][min(best[number])]
        for frame in shown:
            last = best[number].get(frame, last)
            if last.entry['segmentations'][frame] is None:
                last.entry['segmentations'][frame] = video.masks[number][frame]
    return made
