"""The charts of the report: differences on one axis, and the cost of each kind of error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vispropnet.evaluation.error_kinds import KINDS, LABELS
from vispropnet.trials.report.tables import html_table
from vispropnet.trials.report.wording import (
    baseline_of,
    decision,
    difference_of,
    escaped,
    figure_of,
    interval,
    points,
    seed_gap,
    signed_points,
    state_words,
)

_ROW, _TOP, _FOOT = 46, 10, 40  # pixels
_MOST_TICKS = 6
_MOST_LETTERS = 40  # of a name, so that it leaves room for the figures on a phone


def difference_chart(table: Mapping[str, Any]) -> str:
    """Draws the differences of mAP with their intervals over the gap between the baseline's seeds.

    Places across are shares of the width, so that the chart fits every screen and its text keeps
    its size.

    Args:
        table: Content of ``table.json``.

    Returns:
        HTML with an inline SVG; a sentence if there is no difference to draw.
    """
    base = figure_of(baseline_of(table), 'mAP')
    trials = [one for one in table['trials'] if difference_of(one) or one is baseline_of(table)]
    if not any(difference_of(one) for one in trials):
        return '<p>There is no difference to draw: no trial was compared with the baseline.</p>'
    gap = seed_gap(table)
    seeds = {one['name']: _seed_differences(one, base) for one in trials}
    place, ticks = _axis(trials, seeds, gap)
    height = _TOP + _ROW * len(trials) + _FOOT
    bottom = height - _FOOT
    parts = []
    if gap is not None:
        left, right = place(-gap), place(gap)
        parts.append(
            f'<rect class="band" x="{left:.2f}%" y="0" width="{right - left:.2f}%" '
            f'height="{bottom}"/>'
        )
    for tick in ticks:
        x, name = f'{place(tick):.2f}%', 'zero' if tick == 0 else 'tick'
        parts.append(f'<line class="{name}" x1="{x}" x2="{x}" y1="0" y2="{bottom}"/>')
        parts.append(f'<text class="axis" x="{x}" y="{bottom + 16}">{signed_points(tick)}</text>')
    parts.append(f'<text class="axis" x="50%" y="{bottom + 34}">mAP − baseline, in points</text>')
    for number, trial in enumerate(trials):
        parts += _chart_row(trial, seeds[trial['name']], place, _TOP + _ROW * number)
    summary = '; '.join(
        f'{one["title"]} {signed_points(difference_of(one)["value"])}'
        for one in trials
        if difference_of(one)
    )
    return (
        f'<figure class="differences"><svg role="img" width="100%" height="{height}" '
        f'aria-label="{escaped(f"Differences of mAP to the baseline: {summary}")}">'
        f'{"".join(parts)}</svg><figcaption>{_legend(gap)}</figcaption></figure>'
    )


def error_table(table: Mapping[str, Any]) -> str:
    """Draws what mAP each trial would gain if one kind of error were fixed, as shaded cells.

    Args:
        table: Content of ``table.json``.

    Returns:
        HTML; a sentence if no trial has a breakdown.
    """
    trials = [trial for trial in table['trials'] if trial.get('errors')]
    if not trials:
        return '<p>No trial has a breakdown of its errors.</p>'
    kinds = [kind for kind in KINDS if any(kind in trial['errors'] for trial in trials)]
    most = max(
        [gain['AP'] for trial in trials for gain in trial['errors'].values()] + [0.01]
    )  # a point at least, so that next to nothing does not look like much
    heads = ['Kind of error']
    for trial in trials:
        figure = figure_of(trial, 'mAP')
        level = f'<small>mAP {points(figure["mean"])}</small>' if figure else ''
        heads.append(escaped(trial['title']) + level)
    rows = []
    for kind in kinds:
        cells = [_error_cell(trial['errors'].get(kind), most) for trial in trials]
        rows.append([escaped(LABELS[kind]), *cells])
    caption = (
        'mAP gained if this kind of error were fixed, in points; below, how many tracks are of '
        'this kind at IoU 0.5 (for missed objects: how many objects).'
    )
    return html_table(caption, heads, rows, 'errors')


def _seed_differences(trial, base):
    """The mAP of each seed minus the mean of the baseline."""
    figure = figure_of(trial, 'mAP')
    if figure is None or base is None:
        return []
    values = list((figure.get('by_seed') or {}).values())
    return [value - base['mean'] for value in values if value is not None]


def _axis(trials, seeds, gap):
    """Gives the place (percent of the width) of a difference, and the ticks."""
    ends = [0.0] + ([-gap, gap] if gap is not None else [])
    for trial in trials:
        difference = difference_of(trial)
        if difference:
            ends += [difference['value'], *(difference.get('ci') or ())]
            ends += difference.get('ci_both') or ()
        ends += seeds[trial['name']]
    low, high = min(ends), max(ends)
    # A point at least, so that next to nothing does not look like much.
    spare = max(0.06 * (high - low), (0.01 - (high - low)) / 2)
    low, high = low - spare, high + spare
    step = _tick_step(high - low)
    first, last = math.ceil(low / step), math.floor(high / step)
    return (
        lambda value: 3 + 94 * (value - low) / (high - low),
        [number * step for number in range(first, last + 1)],
    )


def _tick_step(width):
    """The smallest of 1, 2, 5, 10, ... thousandths that gives few ticks."""
    for power in range(4):
        for lead in (1, 2, 5):
            step = lead * 10**power / 1000
            if width / step <= _MOST_TICKS:
                return step
    return width


def _chart_row(trial, seeds, place, top):
    middle = top + 30
    difference = difference_of(trial)
    title = str(trial['title'])
    shown = title if len(title) <= _MOST_LETTERS else f'{title[: _MOST_LETTERS - 1]}…'
    text = f'<title>{escaped(title)}</title>{escaped(shown)}'
    if trial.get('state') == 'failed':
        text += f' ({state_words(trial)})'
    parts = [f'<text class="name" x="0" y="{top + 14}">{text}</text>']
    for seed in seeds:
        x = f'{place(seed):.2f}%'
        parts.append(f'<line class="seed" x1="{x}" x2="{x}" y1="{middle - 8}" y2="{middle + 8}"/>')
    if difference is None:
        return parts
    kind = decision(difference).split()[0]
    ends = difference.get('ci')
    for name, interval_ends in (('both', difference.get('ci_both')), ('span', ends)):
        if interval_ends is not None:
            left, right = (f'{place(end):.2f}%' for end in interval_ends)
            place_in = f'x1="{left}" x2="{right}" y1="{middle}" y2="{middle}"'
            parts.append(f'<line class="{name} {kind}" {place_in}/>')
    value, brackets = signed_points(difference['value']), interval(ends, signed=True)
    parts.append(
        f'<circle class="{kind}" cx="{place(difference["value"]):.2f}%" cy="{middle}" r="5">'
        f'<title>{value} {brackets}</title></circle>'
        f'<text class="value" x="100%" y="{top + 14}">{value}'
        f'<tspan class="ends"> {brackets}</tspan></text>'
    )
    return parts


def _legend(gap):
    sentences = [
        'Dot: mAP of the trial minus that of the baseline; thick bar: its interval over videos; '
        'thin line: over videos and seeds, which decides; upright marks: the single seeds, against '
        'the mean of the baseline.'
    ]
    if gap is None:
        sentences.append(
            'The baseline has a single seed, so the gap between seeds is not known and not drawn.'
        )
    else:
        sentences.append(
            f'Band: the gap between the seeds of the baseline, {points(gap)} points to either '
            'side. A dot inside it differs less from the baseline than two of its seeds do from '
            'each other.'
        )
    return ' '.join(sentences)


def _error_cell(gain, most):
    if gain is None:
        return '–'
    share = min(1.0, max(0.0, gain['AP'] / most))
    count = '' if gain.get('count') is None else f'<small>{escaped(gain["count"])}</small>'
    return f'<span class="heat" style="--share:{share:.3f}">{points(gain["AP"])}{count}</span>'
