"""Matches predicted tracks with annotated objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vispropnet.evaluation.ground_truth import GroundTruth
from vispropnet.evaluation.overlaps import IOU_THRESHOLDS, Tracks

# Tracks that count per video and category.
TRACK_LIMIT = 100
# Bins of the mean area in pixels, ends included, as the reference evaluator has them.
AREA_BINS = {
    'all': (0.0, 1e5**2),
    'small': (0.0, 128.0**2),
    'medium': (128.0**2, 256.0**2),
    'large': (256.0**2, 1e5**2),
}


@dataclass(frozen=True)
class Bin:
    """A part of the objects to score by themselves.

    Attributes:
        name: For tables.
        objects: (G,) bool, the objects that count. Others are ignored: neither missed, nor are the
            tracks that find them false.
        tracks: (N,) bool, the tracks that count as false when they find nothing.
    """

    name: str
    objects: np.ndarray
    tracks: np.ndarray


@dataclass(frozen=True)
class Matches:
    """Tracks and the objects they find, for A bins, T IoU thresholds and N tracks.

    Attributes:
        tracks: The tracks that were matched.
        bins: The bins.
        rank: (N,) int64, place of a track by score among those of its video and category, from 0.
            From ``TRACK_LIMIT`` on it does not take part.
        order: (N,) int64, the tracks by falling score; among equal ones by video, then by rank.
        counted: (A, G) bool, objects that count: of the bin, and no crowd.
        found: (A, T, N) int32, the object that a track finds, -1 for none.
        true: (A, T, N) bool, tracks that find an object that counts.
        false: (A, T, N) bool, tracks that find nothing and are not ignored.
    """

    tracks: Tracks
    bins: tuple[Bin, ...]
    rank: np.ndarray
    order: np.ndarray
    counted: np.ndarray
    found: np.ndarray
    true: np.ndarray
    false: np.ndarray


def area_bins(tracks: Tracks) -> list[Bin]:
    """Makes the reference evaluator's bins by area: ``all``, ``small``, ``medium``, ``large``."""
    return [
        Bin(
            name,
            (low <= tracks.truth.area) & (tracks.truth.area <= high),
            (low <= tracks.area) & (tracks.area <= high),
        )
        for name, (low, high) in AREA_BINS.items()
    ]


def match_tracks(tracks: Tracks, bins: Sequence[Bin]) -> Matches:
    """Matches tracks with objects of their video and category, as the reference evaluator does.

    In the order of their scores, tracks take the object with the highest IoU among those that count
    and are not taken; of equal ones the last. Where none reaches the threshold, likewise among the
    ignored ones, of which a crowd is never used up. Source: the reference evaluator of YouTube-VIS.

    Args:
        tracks: The predicted tracks.
        bins: What to score by itself; each is matched anew.
    """
    truth = tracks.truth
    rank, order, groups = _groups(tracks)
    counted = np.stack([one.objects & ~truth.crowd for one in bins])
    found = np.full((len(bins), len(IOU_THRESHOLDS), len(rank)), -1, np.int32)
    for members in groups:
        video = truth.videos[tracks.video[members[0]]]
        own = truth.category[video.objects] == tracks.category[members[0]]
        objects = video.objects[own]
        if len(objects):
            ious = np.stack([tracks.ious[member][own] for member in members])
            _match_group(members, ious, objects, counted[:, objects], truth, found)
    taken = found >= 0
    true = taken & counted[np.arange(len(bins))[:, None, None], found]
    inside = np.stack([one.tracks for one in bins]) & (rank < TRACK_LIMIT)
    return Matches(
        tracks=tracks,
        bins=tuple(bins),
        rank=rank,
        order=order,
        counted=counted,
        found=found,
        true=true,
        false=~taken & inside[:, None],
    )


def _groups(tracks: Tracks) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Ranks, the order over all, and the members of each video and category that take part."""
    total = len(tracks.score)
    best_first = np.argsort(-tracks.score, kind='stable')
    key = tracks.video * len(tracks.truth.category_ids) + tracks.category
    sequence = best_first[np.argsort(key[best_first], kind='stable')]
    begins = np.flatnonzero(np.diff(key[sequence], prepend=-1))
    sizes = np.diff(begins, append=total)
    rank = np.empty(total, np.int64)
    rank[sequence] = np.arange(total) - np.repeat(begins, sizes)
    # Stable sorting of the videos' tracks one after the other, by score: what equal scores mean.
    by_video = sequence[np.argsort(tracks.video[sequence], kind='stable')]
    order = by_video[np.argsort(-tracks.score[by_video], kind='stable')]
    groups = [
        sequence[begin : begin + min(size, TRACK_LIMIT)]
        for begin, size in zip(begins, sizes, strict=True)
    ]
    return rank, order, groups


def _match_group(
    members: np.ndarray,
    ious: np.ndarray,
    objects: np.ndarray,
    counted: np.ndarray,
    truth: GroundTruth,
    found: np.ndarray,
) -> None:
    """Matches the tracks ``members`` (D,) of one video and category, best first, with its objects.

    Takes their IoUs (D, G) and the objects that count (A, G); writes into ``found`` (A, T, N).
    """
    # Backwards, since of equal IoUs the last object is taken and argmax gives the first.
    ious, objects, counted = ious[:, ::-1], objects[::-1], counted[:, ::-1]
    crowd = truth.crowd[objects]
    thresholds = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
    reaches = ious[:, None] >= thresholds[:, None]  # (D, T, G)
    free = np.ones((len(counted), len(thresholds), len(objects)), bool)
    bins, levels = np.ogrid[: free.shape[0], : free.shape[1]]
    for row in np.flatnonzero(reaches.any(axis=(1, 2))):
        candidates = reaches[row] & free  # (A, T, G)
        proper = candidates & counted[:, None]
        # An object that counts comes before any that is ignored.
        candidates = np.where(proper.any(axis=-1, keepdims=True), proper, candidates)
        choice = np.where(candidates, ious[row], -1.0).argmax(axis=-1)  # (A, T)
        matched = candidates.any(axis=-1)
        found[:, :, members[row]] = np.where(matched, objects[choice], -1)
        free[bins, levels, choice] &= ~(matched & ~crowd[choice])
