"""Figures as the report writes them, escaped text, and what a difference decides."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

MEASURES = ('mAP', 'AP50', 'AP75', 'AR1', 'AR10')
NOTHING = '–'


def escaped(value: Any) -> str:
    """Makes text from data safe to stand in HTML, in attributes too.

    Args:
        value: Anything; None becomes a dash.

    Returns:
        Its text.
    """
    return NOTHING if value is None else html.escape(str(value))


def points(value: float | None) -> str:
    """Writes a share as points.

    Args:
        value: 0 to 1, or None.

    Returns:
        100 times the value with one decimal; a dash for None.
    """
    return NOTHING if value is None else f'{round(100 * value, 1) + 0.0:.1f}'.replace('-', '−')


def signed_points(value: float | None) -> str:
    """Writes a difference of shares as points with its sign; arguments as :func:`points`."""
    text = points(value)
    return text if value is None or text == '0.0' or text[0] == '−' else f'+{text}'


def interval(ends: Sequence[float] | None, signed: bool = False) -> str:
    """Writes an interval in points.

    Args:
        ends: Its lower and upper end, or None.
        signed: Whether the ends are differences.

    Returns:
        ``[lower, upper]``; nothing for None.
    """
    write = signed_points if signed else points
    return '' if ends is None else f'[{write(ends[0])}, {write(ends[1])}]'


def figure_of(trial: Mapping[str, Any] | None, measure: str) -> Mapping[str, Any] | None:
    """Finds a figure of a trial.

    Args:
        trial: An entry of the table's ``trials``, or None.
        measure: Such as ``mAP``.

    Returns:
        Its mean, interval and values by seed; None where there are none.
    """
    return _with_value((trial or {}).get('figures'), measure, 'mean')


def difference_of(trial: Mapping[str, Any], measure: str = 'mAP') -> Mapping[str, Any] | None:
    """Finds the difference of a trial to the baseline; arguments as :func:`figure_of`."""
    return _with_value(trial.get('difference'), measure, 'value')


def baseline_of(table: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Finds the trial that the others are compared with.

    Args:
        table: Content of ``table.json``.

    Returns:
        Its entry, or None.
    """
    return next((one for one in table['trials'] if one['name'] == table.get('baseline')), None)


def seed_gap(table: Mapping[str, Any]) -> float | None:
    """Tells how far the mAP of the baseline's seeds lies apart.

    Args:
        table: Content of ``table.json``.

    Returns:
        The largest mAP of a seed minus the smallest; None with fewer than two seeds.
    """
    return (figure_of(baseline_of(table), 'mAP') or {}).get('seed_spread')


def decision(difference: Mapping[str, Any]) -> str:
    """Puts a difference into a word.

    Args:
        difference: Its ``value``, its ``ci`` over videos and its ``ci_both`` over videos and
            seeds; these may be None or missing.

    Returns:
        ``better`` or ``worse`` if the interval over videos and seeds excludes 0; ``same`` if
        nothing differs on any video; else ``not decided``.
    """
    if difference['value'] == 0 and list(difference.get('ci') or ()) == [0, 0]:
        return 'same'
    ends = difference.get('ci_both')
    if ends is None:
        return 'not decided'
    if ends[0] > 0:
        return 'better'
    return 'worse' if ends[1] < 0 else 'not decided'


def state_words(trial: Mapping[str, Any]) -> str:
    """Says why a trial has no figures.

    Args:
        trial: An entry of the table's ``trials``.

    Returns:
        ``failed``, ``not run`` or ``no figures``.
    """
    return {'failed': 'failed', 'missing': 'not run'}.get(trial.get('state'), 'no figures')


def _with_value(entries, measure, key):
    entry = (entries or {}).get(measure)
    return entry if entry and entry.get(key) is not None else None
