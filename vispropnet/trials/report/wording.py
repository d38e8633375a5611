"""Metrics as the report writes them, and what a difference decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NOTHING = '–'


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


def decision(difference: Mapping[str, Any]) -> str:
    """Puts a difference into a word.

    Args:
        difference: Its ``value``, its ``ci`` over videos and its ``ci_both`` over videos and
            seeds; the intervals may be None.

    Returns:
        ``better`` or ``worse`` if the interval over videos and seeds excludes 0; ``same`` if
        nothing differs on any video; else ``not decided``.
    """
    if difference['value'] == 0 and list(difference['ci'] or ()) == [0, 0]:
        return 'same'
    low, high = difference['ci_both'] or (0, 0)
    return 'better' if low > 0 else 'worse' if high < 0 else 'not decided'
