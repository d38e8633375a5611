"""Parts of a score: metrics by category, track length, objects in a video and visibility."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vispropnet.evaluation.average_precision import category_metrics
from vispropnet.evaluation.matching import Bin, Matches, match_tracks
from vispropnet.evaluation.overlaps import Tracks

# Frames in which a track shows, both ends included.
LENGTHS = {'1': (1, 1), '2-8': (2, 8), '9-16': (9, 16), '17-32': (17, 32), '33 or more': (33, None)}
# Annotated objects in a video, crowds left out.
OBJECTS = {'1': (1, 1), '2': (2, 2), '3-4': (3, 4), '5 or more': (5, None)}
# Share of frames without a mask between an object's first and last: above, up to and with.
HIDDEN = {'never': (-1.0, 0.0), 'up to 25 %': (0.0, 0.25), 'over 25 %': (0.25, 1.0)}
METRICS = ('AP', 'AP50', 'AP75', 'AR1', 'AR10')


def break_down(matches: Matches) -> dict[str, list[dict[str, Any]]]:
    """Computes metrics for parts of the ground truth.

    By track length, tracks that find nothing count as false in the part of their own length, as the
    reference evaluator has it for areas. By share of frames hidden they count as false in every
    part, so those metrics are comparable with each other, not with the whole.

    Args:
        matches: With the bin of all objects first.

    Returns:
        ``categories``, ``track_length``, ``objects_per_video`` and ``hidden``: a list of parts,
        each with its ``name``, how many ``objects`` it has, and the ``METRICS``, None where it has
        no object.
    """
    tracks, truth = matches.tracks, matches.tracks.truth
    lengths = [
        Bin(name, _within(truth.length, *ends), _within(tracks.length, *ends))
        for name, ends in LENGTHS.items()
    ]
    every = np.ones(len(tracks.score), bool)
    shares = [
        Bin(name, (truth.hidden > low) & (truth.hidden <= high), every)
        for name, (low, high) in HIDDEN.items()
    ]
    return dict(
        categories=_categories(matches),
        track_length=_bins(tracks, lengths),
        objects_per_video=_object_counts(matches),
        hidden=_bins(tracks, shares),
    )


def _categories(matches: Matches) -> list[dict[str, Any]]:
    truth = matches.tracks.truth
    objects = np.bincount(truth.category[matches.counted[0]], minlength=len(truth.category_ids))
    tracks = np.bincount(matches.tracks.category, minlength=len(truth.category_ids))
    metrics = category_metrics(matches, np.ones((1, len(truth.videos))), METRICS)
    return [
        dict(
            id=category_id,
            name=truth.category_names[index],
            objects=int(objects[index]),
            tracks=int(tracks[index]),
            **_means({name: values[:, [index]] for name, values in metrics.items()}),
        )
        for index, category_id in enumerate(truth.category_ids)
    ]


def _object_counts(matches: Matches) -> list[dict[str, Any]]:
    truth = matches.tracks.truth
    objects = np.bincount(truth.video[matches.counted[0]], minlength=len(truth.videos))
    parts = []
    for name, ends in OBJECTS.items():
        within = _within(objects, *ends)
        metrics = category_metrics(matches, within[None].astype(np.float64), METRICS)
        counts = dict(videos=int(within.sum()), objects=int(objects[within].sum()))
        parts.append(dict(name=name, **counts, **_means(metrics)))
    return parts


def _bins(tracks: Tracks, bins: list[Bin]) -> list[dict[str, Any]]:
    matches = match_tracks(tracks, bins)
    ones = np.ones((1, len(tracks.truth.videos)))
    return [
        dict(
            name=one.name,
            objects=int(matches.counted[index].sum()),
            **_means(category_metrics(matches, ones, METRICS, index)),
        )
        for index, one in enumerate(bins)
    ]


def _within(values: np.ndarray, low: int, high: int | None) -> np.ndarray:
    return (values >= low) & (values <= (high or np.inf))


def _means(metrics: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Means of (1, K, T) over the categories with objects; None if there is none."""
    means = {}
    for name, (values,) in metrics.items():
        present = ~np.isnan(values[:, 0])
        means[name] = float(values[present].mean()) if present.any() else None
    return means
