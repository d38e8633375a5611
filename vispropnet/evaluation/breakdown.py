"""Parts of a score: metrics by category, track length, objects in a video and visibility."""

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
    """Computes metrics for parts of the ground truth.

    By track length, tracks that find nothing count as false in the part of their own length, as the
    reference evaluator has it for areas. By share of frames hidden they count as false in every
    part, so those metrics are comparable with each other, not with the whole.

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
    objects = np.bincount(truth.category[matches.counted[0]], minlength=len(truth.category_ids))
    tracks = np.bincount(matches.tracks.category, minlength=len(truth.category_ids))
    metrics = _by_category(matches)
    return [
        dict(
            id=category_id,
            name=truth.category_names[index],
            objects=int(objects[index]),
            tracks=int(tracks[index]),
            **_means({name: values[[index]] for name, values in metrics.items()}),
        )
        for index, category_id in enumerate(truth.category_ids)
    ]


def _object_counts(matches: Matches) -> list[dict[str, Any]]:
    truth = matches.tracks.truth
    objects = np.bincount(truth.video[matches.counted[0]], minlength=len(truth.videos))
    parts = []
    for name, ends in OBJECTS.items():
        within = _within(objects, *ends)
        metrics = _by_category(matches, weights=within.astype(np.float64))
        counts = dict(videos=int(within.sum()), objects=int(objects[within].sum()))
        parts.append(dict(name=name, **counts, **_means(metrics)))
    return parts


def _bins(tracks: Tracks, bins: list[Bin]) -> list[dict[str, Any]]:
    matches = match_tracks(tracks, bins)
    return [
        dict(
            name=one.name,
            objects=int(matches.counted[index].sum()),
            **_means(_by_category(matches, index)),
        )
        for index, one in enumerate(bins)
    ]


def _length_bins(tracks: Tracks) -> list[Bin]:
    return [
        Bin(name, _within(tracks.truth.length, *ends), _within(tracks.length, *ends))
        for name, ends in LENGTHS.items()
    ]


def _hidden_bins(tracks: Tracks) -> list[Bin]:
    hidden = tracks.truth.hidden
    every = np.ones(len(tracks.score), bool)
    return [
        Bin(name, (hidden > low) & (hidden <= high), every) for name, (low, high) in HIDDEN.items()
    ]


def _within(values: np.ndarray, low: int, high: int | None) -> np.ndarray:
    return (values >= low) & (values <= (high or np.inf))


def _by_category(
    matches: Matches, index: int = 0, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """AP, AP50, AP75, AR1 and AR10 of a bin, each (K, up to T), for weights (V,), by default 1."""
    weights = np.ones(len(matches.tracks.truth.videos)) if weights is None else weights
    precision = average_precisions(matches, weights[None], index)[0]
    return dict(
        AP=precision,
        AP50=precision[:, np.isclose(IOU_THRESHOLDS, 0.5)],
        AP75=precision[:, np.isclose(IOU_THRESHOLDS, 0.75)],
        AR1=recalls(matches, weights[None], index, 1)[0],
        AR10=recalls(matches, weights[None], index, 10)[0],
    )


def _means(metrics: dict[str, np.ndarray]) -> dict[str, float | None]:
    return {name: _mean(values) for name, values in metrics.items()}


def _mean(values: np.ndarray) -> float | None:
    """Mean of (K, T) over the categories with objects; None if there is none."""
    present = ~np.isnan(values[:, 0])
    return float(values[present].mean()) if present.any() else None
