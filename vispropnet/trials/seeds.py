"""Errors that other seeds put into a difference between trials."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from scipy.stats import t

from vispropnet.evaluation.confidence import LEVEL

# Nobody trains more often than this for one comparison.
MOST_SEEDS = 50


def pooled_deviation(samples: Sequence[Sequence[float]]) -> tuple[float | None, int]:
    """Estimates how much a metric, given by trial and seed, varies between seeds of a trial.

    Returns:
        The standard deviation within trials and its degrees of freedom; (None, 0) if no trial has
        two seeds.
    """
    freedom = sum(len(sample) - 1 for sample in samples if sample)
    if freedom == 0:
        return None, 0
    squares = sum((value - statistics.fmean(sample)) ** 2 for sample in samples for value in sample)
    return math.sqrt(squares / freedom), freedom


def seed_error(deviation: float | None, freedom: int, *counts: int) -> float | None:
    """Computes how far seeds may put a difference off.

    Args:
        deviation: Standard deviation from seed to seed, of :func:`pooled_deviation`.
        freedom: Its degrees of freedom.
        counts: Seeds of each of two means that differ; or of one mean of differences by seed.

    Returns:
        Half the width of the interval that Student's t gives (Student, Biometrika 1908), at the
        level of all our intervals; None if the deviation is.
    """
    if deviation is None:
        return None
    quantile = float(t.ppf((1 + LEVEL) / 2, freedom))
    return quantile * deviation * math.sqrt(sum(1 / count for count in counts))


def seeds_to_tell(difference: float, deviation: float, over_videos: float) -> int | None:
    """Plans from how many seeds a difference between two trials would stand clear of 0.

    Args:
        difference: The difference, above 0.
        deviation: Standard deviation from seed to seed, as known so far.
        over_videos: Half the width of the interval of such a difference over the test videos, which
            further seeds leave as it is.

    Returns:
        Seeds of each of the two, 2 or more, from which the interval over videos and seeds is
        narrower than the difference on either side; None if :data:`MOST_SEEDS` are too few.
    """
    for count in range(2, MOST_SEEDS + 1):
        error = seed_error(deviation, 2 * (count - 1), count, count)
        if math.hypot(error, over_videos) < difference:
            return count
    return None


def with_seeds(difference: Mapping, error: float | None) -> dict:
    """Widens the interval of a difference over videos by what seeds may change.

    Args:
        difference: Its ``value`` and its ``ci`` over videos, which may be None.
        error: From :func:`seed_error`.

    Returns:
        The entries, ``seed_error``, and ``ci_both``: on either side of the value the root of the
        sum of the squares of the two, which do not depend on each other; None unless both are
        known.
    """
    both = None
    if difference['ci'] is not None and error is not None:
        value, (low, high) = difference['value'], difference['ci']
        both = [value - math.hypot(value - low, error), value + math.hypot(high - value, error)]
    return {**difference, 'seed_error': error, 'ci_both': both}
