"""Kinds of errors and what each costs, in the spirit of TIDE (images) and TIVE (videos).

The kinds, and what is gained by mending one, are defined in docs/evaluation.md. Sources: Bolya et
al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020; Jia et al., TIVE: A
Toolbox for Identifying Video Instance Segmentation Errors, 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vispropnet.evaluation.average_precision import interpolated_precision, weighted_metrics
from vispropnet.evaluation.matching import Matches
from vispropnet.evaluation.overlaps import IOU_THRESHOLDS, Tracks

LABELS = {
    'category': 'wrong category',
    'masks': 'poor masks',
    'linking': 'poor linking',
    'both': 'poor masks and linking',
    'category_and_overlap': 'wrong category, poor overlap',
    'duplicate': 'duplicate',
    'background': 'background',
    'missed': 'missed object',
}
KINDS = tuple(LABELS)
_CATEGORY, _MASKS, _LINKING, _BOTH, _CATEGORY_AND_OVERLAP = range(5)
_DUPLICATE, _BACKGROUND, _MISSED = range(5, 8)
# From this IoU on, of tracks or in a frame, a track has to do with an object.
BACKGROUND_IOU = 0.1
# Left out one by one; bounds the memory.
_VIDEOS_AT_ONCE = 512


@dataclass(frozen=True)
class TrackErrors:
    """The errors of N tracks and G objects at T thresholds.

    Attributes:
        kind: (T, N) int8, position in ``KINDS`` of what is wrong with a false track; -1 for others.
        target: (T, N) int32, the object that the track should have found; -1 for none.
        missed: (T, G) bool, objects that no track finds, and none should have.
    """

    kind: np.ndarray
    target: np.ndarray
    missed: np.ndarray


def classify_errors(matches: Matches) -> TrackErrors:
    """Puts each false track down to one kind of error.

    Takes matches with the bin of all objects first, of tracks measured frame by frame.
    """
    false = matches.false[0]
    kind = np.full(false.shape, -1, np.int8)
    target = np.full(false.shape, -1, np.int32)
    for track in np.flatnonzero(false.any(axis=0)).tolist():
        wrong = false[:, track]
        kinds, targets = _errors_of_track(matches.tracks, track)
        kind[wrong, track], target[wrong, track] = kinds[wrong], targets[wrong]
    missed = np.tile(matches.counted[0], (len(false), 1))
    for level in range(len(false)):
        missed[level, matches.found[0, level][matches.true[0, level]]] = False
        aimed = target[level][(kind[level] >= 0) & (kind[level] != _DUPLICATE)]
        missed[level, aimed[aimed >= 0]] = False
    return TrackErrors(kind, target, missed)


def error_gains(matches: Matches, errors: TrackErrors) -> dict[str, dict[str, float]]:
    """Computes what would be gained if one kind of error were mended.

    Args:
        matches: As for :func:`classify_errors`.
        errors: From :func:`classify_errors`.

    Returns:
        By kind ``AP`` and ``AP50``, what they would gain, and ``count``, how many tracks (for
        ``missed``: objects) are of this kind at IoU 0.5.
    """
    plain = _precisions(matches, errors, None)
    gains = {}
    for index, name in enumerate(KINDS):
        gain = _precisions(matches, errors, index) - plain
        count = errors.missed[0] if index == _MISSED else errors.kind[0] == index
        gains[name] = dict(AP=float(gain.mean()), AP50=float(gain[0]), count=int(count.sum()))
    return gains


def worst_videos(matches: Matches, errors: TrackErrors) -> list[dict[str, Any]]:
    """Ranks videos by how much mAP would be gained without them.

    Takes the same as :func:`error_gains`.

    Returns:
        The worst first: ``video_id``, ``name`` (the folder of its frames), ``gain`` in mAP without
        the video, how many ``objects`` it has, how many of them are ``found`` at IoU 0.5, and the
        number of errors of each kind there.
    """
    truth = matches.tracks.truth
    total = len(truth.videos)
    gains = _gains_without(matches)
    objects = np.bincount(truth.video[matches.counted[0]], minlength=total)
    found = np.bincount(matches.tracks.video[matches.true[0, 0]], minlength=total)
    counts = {
        name: np.bincount(matches.tracks.video[errors.kind[0] == index], minlength=total)
        for index, name in enumerate(KINDS[:_MISSED])
    }
    counts['missed'] = np.bincount(truth.video[errors.missed[0]], minlength=total)
    rows = []
    for index in np.argsort(-gains, kind='stable').tolist():
        entry = truth.videos[index].entry
        names = entry.get('file_names') or ['']
        rows.append(
            dict(
                video_id=entry['id'],
                name=str(names[0]).rpartition('/')[0],
                gain=float(gains[index]),
                objects=int(objects[index]),
                found=int(found[index]),
                errors={name: int(count[index]) for name, count in counts.items()},
            )
        )
    return rows


def _gains_without(matches: Matches) -> np.ndarray:
    """Gains in mAP (V,) without each video; 0 where nothing would be left to find."""
    total = len(matches.tracks.truth.videos)
    plain = weighted_metrics(matches, np.ones((1, total)), ['AP'])['AP']
    gains = []
    for begin in range(0, total, _VIDEOS_AT_ONCE):
        left_out = np.arange(begin, min(begin + _VIDEOS_AT_ONCE, total))
        weights = 1.0 - (np.arange(total) == left_out[:, None])
        gains.append(weighted_metrics(matches, weights, ['AP'])['AP'] - plain)
    return np.nan_to_num(np.concatenate(gains))


def _errors_of_track(tracks: Tracks, track: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds what is wrong with a false track, and the object that it means, at each threshold.

    Returns kinds (T,) int8 and objects (T,) int64, -1 for none.
    """
    video = tracks.truth.videos[tracks.video[track]]
    proper = ~tracks.truth.crowd[video.objects]
    kinds = np.full(len(IOU_THRESHOLDS), _BACKGROUND, np.int8)
    targets = np.full(len(IOU_THRESHOLDS), -1, np.int64)
    if not proper.any():
        return kinds, targets
    same = tracks.truth.category[video.objects] == tracks.category[track]
    ious = np.where(proper, tracks.ious[track], 0.0)
    on, masks_mended, links_mended = _mended_ious(*tracks.frames[track], video.areas, proper, ious)
    own, other = (
        int(np.where(of, ious, -1.0).argmax()) if of.any() else -1 for of in (same & on, ~same & on)
    )
    # What comes later goes before what came earlier.
    if other >= 0:
        kinds[:], targets[:] = _CATEGORY_AND_OVERLAP, video.objects[other]
    if own >= 0:
        masks, links = masks_mended[own], links_mended[own]
        better = _MASKS if masks >= links else _LINKING
        kinds[:] = np.where(max(masks, links) >= IOU_THRESHOLDS, better, _BOTH)
        targets[:] = video.objects[own]
    for column, kind in ((other, _CATEGORY), (own, _DUPLICATE)):
        if column >= 0:
            reached = ious[column] >= IOU_THRESHOLDS
            kinds[reached], targets[reached] = kind, video.objects[column]
    return kinds, targets


def _mended_ious(
    common: np.ndarray,
    areas: np.ndarray,
    truth_areas: np.ndarray,
    proper: np.ndarray,
    ious: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the IoUs of a track with its masks, or its linking, mended.

    A track is linked to an object in the frames where it overlaps it by ``BACKGROUND_IOU`` and no
    other more. Takes pixels in common (G, T), of the track (T,) and of the objects (G, T), which
    objects (G,) are no crowds, and the IoUs (G,). Returns which objects (G,) the track is on: by
    IoU, or linked in half of its frames; the IoUs (G,) if in the frames where it is linked its
    masks were the object's; and if it were linked in all frames, with masks as good as where it is.
    """
    unions = areas + truth_areas - common
    frame_ious = np.where(proper[:, None], common / np.maximum(unions, 1), 0.0)
    linked = (frame_ious >= BACKGROUND_IOU) & (frame_ious == frame_ious.max(axis=0))
    times = linked.sum(axis=1)
    on = proper & ((ious >= BACKGROUND_IOU) | ((times > 0) & (2 * times >= (areas > 0).sum())))
    right = (truth_areas * linked).sum(axis=1)
    masks_mended = right / np.maximum(right + (unions * ~linked).sum(axis=1), 1)
    links_mended = (common * linked).sum(axis=1) / np.maximum((unions * linked).sum(axis=1), 1)
    return on, masks_mended, links_mended


def _precisions(matches: Matches, errors: TrackErrors, mended: int | None) -> np.ndarray:
    """AP (T,) with one kind of error mended, or none, averaged over the categories with objects."""
    truth = matches.tracks.truth
    total = len(truth.category_ids)
    objects = np.bincount(truth.category[matches.counted[0]], minlength=total)
    values = np.zeros((len(IOU_THRESHOLDS), total))
    for level in range(len(values)):
        category, true, false = _after_mending(matches, errors, mended, level)
        left = objects
        if mended == _MISSED:
            left = objects - np.bincount(truth.category[errors.missed[level]], minlength=total)
        for index in np.flatnonzero(objects):
            members = matches.order[category[matches.order] == index]
            places = np.flatnonzero(true[members])
            # Nothing left to find: all that there is was found.
            values[level, index] = 1.0
            if left[index]:
                values[level, index] = interpolated_precision(
                    np.arange(1.0, len(places) + 1)[None],
                    np.cumsum(false[members])[places][None].astype(np.float64),
                    left[[index]],
                )[0]
    return values[:, objects > 0].mean(axis=1)


def _after_mending(
    matches: Matches, errors: TrackErrors, mended: int | None, level: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Category, whether true and whether false, of each track (N,) at one threshold."""
    truth = matches.tracks.truth
    category = matches.tracks.category.copy()
    true, false = matches.true[0, level].copy(), matches.false[0, level].copy()
    if mended is None or mended == _MISSED:
        return category, true, false
    wrong = errors.kind[level] == mended
    false[wrong] = False
    if mended in (_DUPLICATE, _BACKGROUND):
        return category, true, false
    taken = np.zeros(len(truth.video), bool)
    taken[matches.found[0, level][true]] = True
    best_first = matches.order[wrong[matches.order]]
    targets, first = np.unique(errors.target[level][best_first], return_index=True)
    finders = best_first[first[~taken[targets]]]
    true[finders] = True
    category[finders] = truth.category[errors.target[level][finders]]
    return category, true, false
