"""The metrics of YouTube-VIS, as its reference evaluator defines them, for any weighting of videos.

A weight of 2 counts as a video that is there twice, side by side in the order of the videos; so
resampling videos needs no new matching, and a row of ones gives the plain metrics. (Of equal scores
within a video, though, all copies of one track come before those of the next.)
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vispropnet.evaluation.ground_truth import GroundTruth, ground_truth, read_ground_truth
from vispropnet.evaluation.matching import TRACK_LIMIT, Matches, area_bins, match_tracks
from vispropnet.evaluation.overlaps import IOU_THRESHOLDS, measure_tracks

# What papers report, in training and test; all that the reference evaluator prints.
MAIN_METRICS = ('mAP', 'AP50', 'AP75', 'AR1', 'AR10')
ALL_METRICS = (
    *('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl'),
    *('AR1', 'AR10', 'AR100', 'ARs', 'ARm', 'ARl'),
)
# Recalls at which precision is read, as the reference evaluator makes them.
RECALLS = np.linspace(0.0, 1.0, 101)
_NEXT_RECALL = np.append(RECALLS, np.inf)
# Position in `area_bins` by the end of a metric's name.
_BIN_OF_SUFFIX = {'s': 1, 'm': 2, 'l': 3}
# Weightings computed at once: their arrays stay in the processor's cache.
_BLOCK = 256


def evaluate_tracks(
    annotations: str | os.PathLike | dict[str, Any] | GroundTruth,
    results: Iterable[Mapping[str, Any]],
) -> dict[str, float]:
    """Scores tracks against the ground truth.

    What each metric is: docs/evaluation.md. Source: the reference evaluator of YouTube-VIS
    (youtubevos/cocoapi).

    Args:
        annotations: Annotation file in YouTube-VIS form, its content, or what was made of it.
        results: As for :func:`~vispropnet.evaluation.overlaps.measure_tracks`. May be empty, and
            videos may be missing.

    Returns:
        ``AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl``, in [0, 1], not rounded,
        -1 where there is no object of that area; and ``mAP``, which is ``AP``.

    Raises:
        UserError: if there is nothing to score against, or a track does not fit its video.
    """
    if isinstance(annotations, dict):
        annotations = ground_truth(annotations)
    elif not isinstance(annotations, GroundTruth):
        annotations = read_ground_truth(annotations)
    tracks = measure_tracks(annotations, results)
    metrics = plain_metrics(match_tracks(tracks, area_bins(tracks)))
    return {'mAP': metrics['AP'], **metrics}


def plain_metrics(matches: Matches) -> dict[str, float]:
    """Computes the twelve metrics of :func:`evaluate_tracks`, each video counting once.

    Takes matches of the four bins of :func:`~vispropnet.evaluation.matching.area_bins`, in order.
    """
    values = weighted_metrics(matches, np.ones((1, len(matches.tracks.truth.videos))))
    return {name: -1.0 if np.isnan(value[0]) else float(value[0]) for name, value in values.items()}


def weighted_metrics(
    matches: Matches, weights: np.ndarray, names: Sequence[str] = ALL_METRICS
) -> dict[str, np.ndarray]:
    """Computes metrics for many weightings of the videos at once.

    Args:
        matches: As for :func:`plain_metrics`.
        weights: (B, V) float64, how often each video counts.
        names: Which of ``ALL_METRICS``.

    Returns:
        (B,) float64 by name; NaN where there is no object to find.
    """
    values = category_metrics(matches, weights, names)
    return {name: _mean(of_name) for name, of_name in values.items()}


def category_metrics(
    matches: Matches, weights: np.ndarray, names: Sequence[str], bin_index: int = 0
) -> dict[str, np.ndarray]:
    """Computes metrics by category and IoU threshold.

    Args:
        matches: As for :func:`plain_metrics`, if areas are among the names.
        weights: (B, V) float64, how often each video counts.
        names: Which of ``ALL_METRICS``.
        bin_index: Bin of the metrics that do not name an area.

    Returns:
        (B, K, T) float64 by name, for K categories and the thresholds of the metric; NaN where a
        category has no object.
    """
    same = _first_equal_bins(matches)
    values_of = functools.cache(lambda index, limit: _by_category(matches, weights, index, limit))
    values = {}
    for name in names:
        suffix, limit = name[2:], None
        if name.startswith('AR'):
            limit = int(suffix) if suffix.isdigit() else TRACK_LIMIT
        values[name] = values_of(same[_BIN_OF_SUFFIX.get(suffix, bin_index)], limit)
        if limit is None and suffix.isdigit():
            values[name] = values[name][..., np.isclose(IOU_THRESHOLDS, int(suffix) / 100)]
    return values


def _by_category(
    matches: Matches, weights: np.ndarray, bin_index: int, limit: int | None
) -> np.ndarray:
    """Recalls (B, K, T) of the ``limit`` best tracks of each video; for None average precisions."""
    categories = len(matches.tracks.truth.category_ids)
    values = np.full((len(weights), categories, matches.true.shape[1]), np.nan)
    for category in range(categories):
        curves = _Curves(matches, bin_index, category)
        if not curves.objects.any():
            continue
        for begin in range(0, len(weights), _BLOCK):
            rows = slice(begin, begin + _BLOCK)
            values[rows, category] = (
                curves.average_precisions(weights[rows])
                if limit is None
                else curves.recalls(weights[rows], limit)
            )
    return values


class _Curves:
    """Tracks of one category by falling score, D of them, and how many objects each video has."""

    def __init__(self, matches: Matches, bin_index: int, category: int) -> None:
        tracks, truth = matches.tracks, matches.tracks.truth
        members = matches.order[tracks.category[matches.order] == category]
        true, false = matches.true[bin_index], matches.false[bin_index]
        # The others neither find anything nor count as false.
        members = members[(true | false)[:, members].any(axis=0)]
        self.video, self.rank = tracks.video[members], matches.rank[members]
        self.true, self.false = true[:, members], false[:, members]
        own = matches.counted[bin_index] & (truth.category == category)
        self.objects = np.bincount(truth.video[own], minlength=len(truth.videos))

    def average_precisions(self, weights: np.ndarray) -> np.ndarray:
        """(B, T) for weights (B, V)."""
        positives = weights @ self.objects
        by_track = weights[:, self.video]
        # False tracks up to each place. They are nearly the same at all thresholds: those that ever
        # are false, less those that are not at this one.
        ever = self.false.any(axis=0)
        false_upto = np.cumsum(by_track * ever, axis=1)
        columns = []
        for true, false in zip(self.true, self.false, strict=True):
            places = np.flatnonzero(true)
            other = np.flatnonzero(ever & ~false)
            not_false = np.zeros((len(weights), len(other) + 1))
            np.cumsum(by_track[:, other], axis=1, out=not_false[:, 1:])
            before = np.searchsorted(other, places, side='right')
            columns.append(
                interpolated_precision(
                    np.cumsum(by_track[:, places], axis=1),
                    false_upto[:, places] - not_false[:, before],
                    positives,
                )
            )
        return np.stack(columns, axis=1)

    def recalls(self, weights: np.ndarray, limit: int) -> np.ndarray:
        """(B, T) for weights (B, V)."""
        counting = self.true & (self.rank < limit)
        total = weights.shape[1]
        found = [np.bincount(self.video[tracks], minlength=total) for tracks in counting]
        positives = weights @ self.objects
        with np.errstate(invalid='ignore'):
            return (weights @ np.stack(found, axis=1)) / positives[:, None]


def interpolated_precision(
    true: np.ndarray, false: np.ndarray, positives: np.ndarray
) -> np.ndarray:
    """Averages over 101 recalls the highest precision at that recall or above.

    Only places where a track finds an object matter: in between, precision falls.

    Args:
        true: (B, S) true tracks up to and with each of S true tracks, by falling score.
        false: (B, S) false tracks up to there.
        positives: (B,) objects.

    Returns:
        (B,) averages; NaN where there are no objects.
    """
    recall = true / np.where(positives > 0, positives, 1)[:, None]
    # No weight at all before the first videos that count: no precision.
    precision = true / np.maximum(false + true, np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = _reached(recall)
    reached[:, 1:] -= reached[:, :-1].copy()
    averages = np.einsum('bs,bs->b', best, reached) / len(RECALLS)
    return np.where(positives > 0, averages, np.nan)


def _reached(recall: np.ndarray) -> np.ndarray:
    """Counts the recalls of the 101 that each reaches: ``searchsorted(..., 'right')``, but fast."""
    # In steps of 0.01 the guess is off by one at most.
    count = (recall * 100).astype(np.int64) + 1
    count -= RECALLS[count - 1] > recall
    count += _NEXT_RECALL[count] <= recall
    return count


def _first_equal_bins(matches: Matches) -> list[int]:
    """Finds the first bin with the same matches as each: often, all objects are of one size."""
    parts = [
        (counted.tobytes(), true.tobytes(), false.tobytes())
        for counted, true, false in zip(matches.counted, matches.true, matches.false, strict=True)
    ]
    return [parts.index(part) for part in parts]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean (B,) over the categories that have objects and over thresholds, of (B, K, T)."""
    present = ~np.isnan(values[..., 0])
    count = present.sum(axis=1) * values.shape[-1]
    with np.errstate(invalid='ignore'):
        return np.nansum(values, axis=(1, 2)) / np.where(count, count, np.nan)


def format_table(metrics: Mapping[str, float], names: Sequence[str] = MAIN_METRICS) -> str:
    """Lays out two aligned lines for a terminal: names and values, a dash where there is none."""
    cells = [(name, '-' if metrics[name] < 0 else f'{metrics[name]:.4f}') for name in names]
    widths = [max(map(len, pair)) for pair in cells]
    return '\n'.join(
        '  '.join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in zip(*cells, strict=True)
    )
