"""Where a score comes from: figures by category, track length, crowding and visibility."""

from __future__ import annotations

from typing import Any

import numpy as np

from vispropnet.evaluation.matching import Bin, Matches, match_tracks
from vispropnet.evaluation.overlaps import IOU_THRESHOLDS, Tracks
from vispropnet.evaluation.precision import average_precisions, recalls

# Frames in which a track shows, both ends included.
LENGTHS = {'1': (1, 1), '2-8': (2, 8), '9-16': (9, 16), '17-32': (17, 32), '33 or more': (33, None)}
# Annotated objects in a video, crowds left out.
OBJECTS = {'1': (1, 1), '2': (2, 2), '3-4': (3, 4), '5 or more': (5, None)}
# Share of frames without a mask between an object's first and last: above, up to and with.
HIDDEN = {'never': (-1.0, 0.0), 'up to 25 %': (0.0, 0.25), 'over 25 %': (0.25, 1.0)}


def break_down(matches: Matches) -> dict[str, list[dict[str, Any]]]:
    """Computes figures for parts of the ground truth.

    By track length, tracks that find nothing count as false in the part of their own length, as the
    reference evaluator has it for areas. By share of frames hidden they count as false in every
    part, so those figures are comparable with each other, not with the whole.

    Args:
        matches: With the bin of all objects first.

    Returns:
        ``categories``, ``track_length``, ``objects_per_video`` and ``hidden``: a list of parts,
        each with its ``name``, how many ``objects`` it has, and ``AP, AP50, AP75, AR1, AR10``, None
        where it has no object.
    """
    return dict(
        categories=_categories(matches),
        track_length=_bins(matches.tracks, _length_bins(matches.tracks)),
        objects_per_video=_object_counts(matches),
        hidden=_bins(matches.tracks, _hidden_bins(matches.tracks)),
    )


def _categories(matches: Matches) -> list[dict[str, Any]]:
    truth = matches.tracks.truth
    ones = np.ones((1, len(truth.videos)))
    precision = average_precisions(matches, ones)[0]
    recall = {limit: recalls(matches, ones, 0, limit)[0] for limit in (1, 10)}
    objects = np.bincount(truth.category[matches.counted[0]], minlength=len(truth.category_ids))
    tracks = np.bincount(matches.tracks.category, minlength=len(truth.category_ids))
    return [
        dict(
            id=category_id,
            name=truth.category_names[index],
            objects=int(objects[index]),
            tracks=int(tracks[index]),
            **_figures(precision[[index]], {key: value[[index]] for key, value in recall.items()}),
        )
        for index, category_id in enumerate(truth.category_ids)
    ]


def _object_counts(matches: Matches) -> list[dict[str, Any]]:
    truth = matches.tracks.truth
    objects = np.bincount(truth.video[matches.counted[0]], minlength=len(truth.videos))
    parts = []
    for name, (low, high) in OBJECTS.items():
        within = (objects >= low) & (objects <= (high or np.inf))
        weights = within[None].astype(np.float64)
        parts.append(
            dict(
                name=name,
                videos=int(within.sum()),
                objects=int(objects[within].sum()),
                **_figures(
                    average_precisions(matches, weights)[0],
                    {limit: recalls(matches, weights, 0, limit)[0] for limit in (1, 10)},
                ),
            )
        )
    return parts


def _bins(tracks: Tracks, bins: list[Bin]) -> list[dict[str, Any]]:
    matches = match_tracks(tracks, bins)
    ones = np.ones((1, len(tracks.truth.videos)))
    return [
        dict(
            name=one.name,
            objects=int(matches.counted[index].sum()),
            **_figures(
                average_precisions(matches, ones, index)[0],
                {limit: recalls(matches, ones, index, limit)[0] for limit in (1, 10)},
            ),
        )
        for index, one in enumerate(bins)
    ]


def _length_bins(tracks: Tracks) -> list[Bin]:
    def within(length: np.ndarray, low: int, high: int | None) -> np.ndarray:
        return (length >= low) & (length <= (high or np.inf))

    return [
        Bin(name, within(tracks.truth.length, *ends), within(tracks.length, *ends))
        for name, ends in LENGTHS.items()
    ]


def _hidden_bins(tracks: Tracks) -> list[Bin]:
    hidden = tracks.truth.hidden
    every = np.ones(len(tracks.score), bool)
    return [
        Bin(name, (hidden > low) & (hidden <= high), every) for name, (low, high) in HIDDEN.items()
    ]


def _figures(precision: np.ndarray, recall: dict[int, np.ndarray]) -> dict[str, float | None]:
    """Means over the categories with objects, of (K, T)."""
    present = ~np.isnan(precision[:, 0])

    def mean(values: np.ndarray) -> float | None:
        return float(values[present].mean()) if present.any() else None

    return dict(
        AP=mean(precision),
        AP50=mean(precision[:, np.isclose(IOU_THRESHOLDS, 0.5)]),
        AP75=mean(precision[:, np.isclose(IOU_THRESHOLDS, 0.75)]),
        **{f'AR{limit}': mean(values) for limit, values in recall.items()},
    )
