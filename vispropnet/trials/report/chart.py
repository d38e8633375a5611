"""The axis of the chart of differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vispropnet.trials.study import MAIN_METRIC

_MOST_TICKS = 6


class Axis:
    """Places across, as shares of the width: the chart fits every screen, its text keeps its size.

    Args:
        values: Differences that have to fit, and 0.

    Attributes:
        ticks: Differences to mark.
    """

    def __init__(self, values: list[float]) -> None:
        low, high = min(values), max(values)
        # A point at least, so that next to nothing does not look like much.
        spare = max(0.06 * (high - low), (0.01 - (high - low)) / 2)
        self._low, self._width = low - spare, high - low + 2 * spare
        steps = [lead * 10**power / 1000 for power in range(4) for lead in (1, 2, 5)]
        step = next(step for step in steps if self._width / step <= _MOST_TICKS)
        first = math.ceil(self._low / step)
        last = math.floor((self._low + self._width) / step)
        self.ticks = [number * step for number in range(first, last + 1)]

    def place(self, value: float) -> str:
        """Returns the place of a difference, with 3 % of the width to spare on both sides."""
        return f'{3 + 94 * (value - self._low) / self._width:.2f}%'

    def length(self, value: float) -> str:
        """Returns the length of a difference."""
        return f'{94 * value / self._width:.2f}%'


def axis_of(table: Mapping[str, Any], base: Mapping[str, Any]) -> Axis | None:
    """Lays out the axis of the differences to the baseline, their intervals and seeds.

    Args:
        table: Content of ``table.json``.
        base: Its entry of the baseline.

    Returns:
        The axis; None if there is no difference to draw.
    """
    compared = [one for one in table['trials'] if one['difference']]
    if not compared:
        return None
    metric = base['figures'][MAIN_METRIC]
    gap = metric['seed_spread'] or 0.0
    values = [0.0, -gap, gap]
    for one in (base, *compared):
        seeds = one['figures'][MAIN_METRIC]['by_seed'].values()
        values += [value - metric['mean'] for value in seeds]
    for one in compared:
        difference = one['difference'][MAIN_METRIC]
        values += [difference['value'], *(difference['ci'] or ()), *(difference['ci_both'] or ())]
    return Axis(values)
