"""Confidence intervals of metrics: resamples videos (the bootstrap) without matching anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vispropnet.evaluation.average_precision import ALL_METRICS, weighted_metrics
from vispropnet.evaluation.matching import Matches

# Takes results, (B, V) weights and names of metrics; gives (B,) metrics by name.
Measure = Callable[[Any, np.ndarray, Sequence[str]], dict[str, np.ndarray]]
# Share of intervals that are to hold the metric of other videos of the same kind.
LEVEL = 0.95


def resample_videos(videos: int, resamples: int, seed: int = 0) -> np.ndarray:
    """Draws data sets of as many videos, with replacement; a seed always gives the same ones.

    Returns:
        (resamples, videos) float64, how often each video is in each data set.
    """
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(videos, np.full(videos, 1 / videos), size=resamples)
    return draws.astype(np.float64)


def confidence_intervals(
    matches: Matches | Sequence[Any],
    weights: np.ndarray,
    names: Sequence[str] = ALL_METRICS,
    measure: Measure = weighted_metrics,
    limits: tuple[float, float] = (0.0, 1.0),
) -> dict[str, tuple[float, float] | None]:
    """Computes a 95 % interval for each metric.

    The interval is that of the resamples, moved so that their mean falls on the metric: a data set
    with repeated videos gives slightly higher AP than one of as many different ones, more so with
    many categories, and an interval that is not moved can miss its own metric. Where that is not
    enough, because few resamples lie far off, it is widened up to its metric. Source: Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapters 10 and 13.

    Args:
        matches: The matches of :func:`~vispropnet.evaluation.matching.area_bins`; of several
            results on the same ground truth (runs from other seeds), it is their mean's interval.
        weights: From :func:`resample_videos`.
        names: Which metrics.
        measure: Computes metrics of what is given in place of matches; takes it, weights and names.
        limits: Smallest and largest value of a metric, which no interval leaves.

    Returns:
        Lower and upper end by name; None where there is no metric, only one video, or no resample
        with an object to find.
    """
    metrics, resampled = _means(matches, weights, names, measure)
    low, high = limits
    ends = {name: moved_interval(resampled[name], metrics[name]) for name in names}
    return {name: one and (max(one[0], low), min(one[1], high)) for name, one in ends.items()}


def paired_differences(
    ours: Matches | Sequence[Any],
    other: Matches | Sequence[Any],
    weights: np.ndarray,
    names: Sequence[str] = ALL_METRICS,
    measure: Measure = weighted_metrics,
) -> dict[str, dict[str, Any] | None]:
    """Computes the differences of two results, both on the same resampled videos.

    What makes some videos hard makes them hard for both, so a difference is surer than the metrics.

    Args:
        ours: Matches of the one result; of several, their mean is taken.
        other: Matches of the other or others, with the same ground truth.
        weights: From :func:`resample_videos`.
        names: Which metrics.
        measure: As in :func:`confidence_intervals`.

    Returns:
        By name the ``value`` (ours minus the other's), ``ci`` (``[low, high]``) and ``above_zero``
        (the share of the resamples); None as in :func:`confidence_intervals`.
    """
    (metrics, resampled), (their_metrics, their_resampled) = (
        _means(one, weights, names, measure) for one in (ours, other)
    )
    differences: dict[str, dict[str, Any] | None] = {}
    for name in names:
        differences[name] = None
        value = metrics[name] - their_metrics[name]
        ends = moved_interval(resampled[name] - their_resampled[name], value)
        if ends is not None:
            low, high, above_zero = ends
            differences[name] = dict(value=value, ci=[low, high], above_zero=above_zero)
    return differences


def _means(
    matches: Matches | Sequence[Any],
    weights: np.ndarray,
    names: Sequence[str],
    measure: Measure,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics and (B,) resampled metrics by name, averaged over several results.

    Resampled metrics are NaN where there are none, also if there is one video only; metrics are -1.
    """
    several = [matches] if isinstance(matches, Matches) else list(matches)
    once = np.ones((1, weights.shape[1]))
    metrics = [
        {name: np.nan_to_num(value[0], nan=-1.0) for name, value in of_one.items()}
        for of_one in (measure(one, once, names) for one in several)
    ]
    resampled = [measure(one, weights, names) for one in several]
    known = 1.0 if weights.shape[1] > 1 else np.nan
    return (
        {name: float(np.mean([one[name] for one in metrics])) for name in names},
        {name: np.mean([one[name] for one in resampled], axis=0) * known for name in names},
    )


def moved_interval(values: np.ndarray, metric: float) -> tuple[float, float, float] | None:
    """Ends of the interval of resampled values, moved onto their metric, and their share above 0.

    Args:
        values: (B,) of the resamples; NaN is left out.
        metric: Of the videos themselves.

    Returns:
        Lower and upper end, and share; None without values.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    moved = values - values.mean() + metric
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(moved, [tail, 100 - tail])
    return min(float(low), metric), max(float(high), metric), float(np.mean(moved > 0))
