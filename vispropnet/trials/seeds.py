"""Errors that other seeds put into a difference between trials."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from vispropnet.evaluation.confidence import LEVEL


def pooled_deviation(samples: Sequence[Sequence[float]]) -> tuple[float | None, int]:
    """Estimates how much a metric varies from seed to seed, alike for all trials.

    Args:
        samples: For each trial, its metric from each seed.

    Returns:
        The standard deviation within trials and its degrees of freedom; (None, 0) if no trial has
        two seeds.
    """
    freedom = sum(len(sample) - 1 for sample in samples if sample)
    if freedom == 0:
        return None, 0
    squares = sum(
        (value - statistics.fmean(sample)) ** 2 for sample in samples if sample for value in sample
    )
    return math.sqrt(squares / freedom), freedom


def error_of_difference(
    deviation: float | None, freedom: int, ours: int, baseline: int
) -> float | None:
    """Computes how far seeds may put a difference of two means off.

    Args:
        deviation: Standard deviation from seed to seed.
        freedom: Its degrees of freedom.
        ours: Seeds of one mean.
        baseline: Seeds of the other.

    Returns:
        Half the width of the interval that Student's t gives (Student, Biometrika 1908), at the
        level of all our intervals; None if the deviation is.
    """
    if deviation is None:
        return None
    return _quantile(freedom) * deviation * math.sqrt(1 / ours + 1 / baseline)


def error_of_paired_difference(differences: Sequence[float]) -> float | None:
    """Computes how far seeds may put a mean of differences off, each of one seed.

    Args:
        differences: Of each seed.

    Returns:
        As :func:`error_of_difference`; None with fewer than two seeds.
    """
    if len(differences) < 2:
        return None
    deviation = statistics.stdev(differences)
    return _quantile(len(differences) - 1) * deviation / math.sqrt(len(differences))


def with_seeds(difference: Mapping, seed_error: float | None) -> dict:
    """Widens the interval of a difference over videos by what seeds may change.

    Args:
        difference: Its ``value`` and its ``ci`` over videos, which may be None.
        seed_error: From one of the functions above.

    Returns:
        The entries, ``seed_error``, and ``ci_both``: on either side of the value the root of the
        sum of the squares of the two, which do not depend on each other; None unless both are
        known.
    """
    both = None
    if difference['ci'] is not None and seed_error is not None:
        value, (low, high) = difference['value'], difference['ci']
        both = [value - math.hypot(value - low, seed_error)]
        both.append(value + math.hypot(high - value, seed_error))
    return {**difference, 'seed_error': seed_error, 'ci_both': both}


def _quantile(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, freedom))
