"""Places in the chart of differences: shares of the width across, pixels down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vispropnet.trials.study import MAIN_METRIC

_ROW, _TOP, _FOOT = 46, 10, 40  # pixels
_MOST_TICKS = 6


def chart_of(table: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any] | None:
    """Lays out the differences to the baseline with their intervals and seeds.

    Places across are shares of the width, so that the chart fits every screen and its text keeps
    its size.

    Args:
        table: Content of ``table.json``.
        base: Its entry of the baseline.

    Returns:
        ``height`` and ``bottom`` of the axis in pixels, ``band`` (left end and width of the gap
        between the seeds of the baseline, None if that is not known), ``ticks`` (``value``, ``x``)
        and ``rows``: ``trial``, ``top``, ``seeds``, ``difference`` (None for the baseline) and its
        places ``x``, ``span`` (over videos) and ``both`` (with seeds), None for no interval. None
        if there is no difference to draw.
    """
    trials = [one for one in table['trials'] if one['difference'] or one is base]
    if not any(one['difference'] for one in trials):
        return None
    figure = base['figures'][MAIN_METRIC]
    gap = figure['seed_spread']
    seeds = [
        [value - figure['mean'] for value in one['figures'][MAIN_METRIC]['by_seed'].values()]
        for one in trials
    ]
    differences = [one['difference'] and one['difference'][MAIN_METRIC] for one in trials]
    values = [
        0.0,
        *([] if gap is None else [-gap, gap]),
        *(value for some in seeds for value in some),
    ]
    for one in filter(None, differences):
        values += [one['value'], *(one['ci'] or ()), *(one['ci_both'] or ())]
    place, ticks = _axis(values)

    def ends(interval: Sequence[float] | None) -> list[str] | None:
        return interval and [_percent(place(end)) for end in interval]

    rows = [
        dict(
            trial=trial,
            top=_TOP + _ROW * number,
            seeds=[_percent(place(seed)) for seed in some],
            difference=one,
            **(
                dict(
                    x=_percent(place(one['value'])), span=ends(one['ci']), both=ends(one['ci_both'])
                )
                if one
                else {}
            ),
        )
        for number, (trial, some, one) in enumerate(zip(trials, seeds, differences, strict=True))
    ]
    height = _TOP + _ROW * len(trials) + _FOOT
    band = None
    if gap is not None:
        band = _percent(place(-gap)), _percent(place(gap) - place(-gap))
    ticks = [dict(value=tick, x=_percent(place(tick))) for tick in ticks]
    return dict(height=height, bottom=height - _FOOT, band=band, ticks=ticks, rows=rows)


def _axis(values: Sequence[float]) -> tuple[Callable[[float], float], list[float]]:
    """The place (percent of the width) of a difference, and the ticks."""
    low, high = min(values), max(values)
    # A point at least, so that next to nothing does not look like much.
    spare = max(0.06 * (high - low), (0.01 - (high - low)) / 2)
    low, high = low - spare, high + spare
    steps = [lead * 10**power / 1000 for power in range(4) for lead in (1, 2, 5)]
    step = next(step for step in steps if (high - low) / step <= _MOST_TICKS)
    first, last = math.ceil(low / step), math.floor(high / step)
    return (
        lambda value: 3 + 94 * (value - low) / (high - low),
        [number * step for number in range(first, last + 1)],
    )


def _percent(value: float) -> str:
    return f'{value:.2f}%'
