"""The tables of the report: results, cost, published figures; and what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vispropnet.text import counted
from vispropnet.trials.report.wording import (
    MEASURES,
    NOTHING,
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

# Lines of a log, and characters of a line, that the page quotes at most.
_LOG_LINES, _LOG_WIDTH = 40, 500
_MARKS = {'better': '▲', 'worse': '▼', 'same': '=', 'not decided': '◆'}

Rows = Sequence[Sequence[str]]


def html_table(caption: str, heads: Sequence[str], rows: Rows, kind: str = '') -> str:
    """Writes a table that scrolls inside its own box where it is too wide.

    Args:
        caption: What it shows; HTML.
        heads: Of its columns; HTML.
        rows: Its cells, HTML; the first of each row is its head. A last cell goes on to the right
            end of the table.
        kind: Class of the table.

    Returns:
        HTML.
    """
    top = ''.join(f'<th scope="col">{head}</th>' for head in heads)
    body = []
    for first, *cells in rows:
        filled = [f'<td>{cell}</td>' for cell in cells]
        missing = len(heads) - 1 - len(cells)
        if missing > 0 and cells:
            filled[-1] = f'<td colspan="{missing + 1}" class="gap">{cells[-1]}</td>'
        body.append(f'<tr><th scope="row">{first}</th>{"".join(filled)}</tr>')
    label = escaped(kind or 'table')
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
        f'<table class="{escaped(kind)}"><caption><span>{caption}</span></caption>'
        f'<thead><tr>{top}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def result_table(table: Mapping[str, Any]) -> str:
    """Writes the figures of all trials and their differences to the baseline.

    Args:
        table: Content of ``table.json``.

    Returns:
        HTML.
    """
    heads = ['Trial', *MEASURES, 'Gap of mAP between seeds', 'mAP − baseline', 'Decision']
    rows = []
    for trial in table['trials']:
        name = f'{escaped(trial["title"])}<small>{escaped(trial.get("change") or "")}</small>'
        if not trial.get('figures'):
            rows.append([name, _why_empty(trial)])
            continue
        cells = [_figure(figure_of(trial, measure)) for measure in MEASURES]
        spread = (figure_of(trial, 'mAP') or {}).get('seed_spread')
        gap = points(spread) if spread is not None else f'{NOTHING}<small>one seed</small>'
        rows.append([name, *cells, gap, *_difference_cells(trial, table)])
    caption = 'Figures in points (0 to 100), the mean over the seeds; intervals in brackets.'
    return html_table(caption, heads, rows, 'results')


def cost_table(table: Mapping[str, Any]) -> str:
    """Writes the configs, seeds, sizes and times of all trials.

    Args:
        table: Content of ``table.json``.

    Returns:
        HTML.
    """
    heads = ['Trial', 'Seeds', 'Parameters', 'Training', 'Inference', 'Config']
    rows = [
        [
            escaped(trial['title']),
            escaped(', '.join(str(seed) for seed in trial.get('seeds') or ()) or NOTHING),
            _parameters(trial.get('parameters')),
            _per_frame(trial.get('train_s_per_frame')),
            _per_frame(trial.get('test_s_per_frame')),
            f'<code>{escaped(trial.get("config"))}</code>',
        ]
        for trial in table['trials']
    ]
    return html_table('Times are wall time for each frame of a video.', heads, rows, 'cost')


def published_table(table: Mapping[str, Any]) -> str:
    """Writes the figures that were published for the trials.

    Args:
        table: Content of ``table.json``.

    Returns:
        HTML; empty if there are none.
    """
    with_figures = [trial for trial in table['trials'] if trial.get('published')]
    if not with_figures:
        return ''
    base = ((baseline_of(table) or {}).get('published') or {}).get('mAP')
    rows = []
    for trial in with_figures:
        published = trial['published']
        value = published.get('mAP')
        own = difference_of(trial)
        apart = None if base is None or value is None else value - base
        rows.append(
            [
                escaped(trial['title']),
                *(points(published.get(measure)) for measure in MEASURES),
                NOTHING if trial['name'] == table['baseline'] else signed_points(apart),
                signed_points(own and own['value']),
            ]
        )
    heads = ['Trial', *MEASURES, 'mAP − baseline, published', 'mAP − baseline, here']
    caption = (
        'Published figures, in points. Data and schedule may be others than here: compare the '
        'differences rather than the levels.'
    )
    return html_table(caption, heads, rows, 'published')


def failures(table: Mapping[str, Any]) -> str:
    """Writes what failed, with the last lines of the logs to be unfolded.

    Args:
        table: Content of ``table.json``.

    Returns:
        HTML; empty if nothing failed.
    """
    parts = []
    for trial in table['trials']:
        failure = trial.get('failure')
        if not failure:
            continue
        lines = [str(line)[:_LOG_WIDTH] for line in failure.get('lines') or ()][-_LOG_LINES:]
        quoted = '\n'.join(lines) or '(the log is empty)'
        parts.append(
            f'<details id="failure-{escaped(trial["name"])}"><summary>{escaped(trial["title"])}: '
            f'<strong>failed</strong> in {escaped(failure.get("run"))}, step '
            f'{escaped(failure.get("step"))}, exit status {escaped(failure.get("exit"))}</summary>'
            f'<p>Log: <code>{escaped(failure.get("log"))}</code></p>'
            f'<pre tabindex="0">{escaped(quoted)}</pre></details>'
        )
    return f'<h3>Failed trials</h3>{"".join(parts)}' if parts else ''


def _why_empty(trial):
    words = state_words(trial)
    if trial.get('failure'):
        return f'<a class="worse" href="#failure-{escaped(trial["name"])}">{words}: see the log</a>'
    return words


def _figure(figure):
    if figure is None:
        return NOTHING
    ends = interval(figure.get('ci'))
    return points(figure['mean']) + (f'<small>{ends}</small>' if ends else '')


def _difference_cells(trial, table):
    if trial['name'] == table.get('baseline'):
        return ['baseline']
    difference = difference_of(trial)
    if difference is None:
        return [NOTHING]
    ends = interval(difference.get('ci'), signed=True)
    above = difference.get('above_zero')
    if above is not None and difference.get('ci') != [0, 0]:
        ends += f'<br>above 0 in {100 * above:.0f} % of resamples'
    value = signed_points(difference['value']) + (f'<small>{ends}</small>' if ends else '')
    word = decision(difference)
    remarks = []
    error = difference.get('seed_error')
    if difference.get('ci') is None:
        remarks.append('no interval')
    elif error is None:
        remarks.append('what other seeds would change is not known')
    else:
        both = interval(difference.get('ci_both'), signed=True)
        remarks.append(f'other seeds: ± {points(error)}; both together: {both}')
    # What trains nothing has the weights of the baseline, seed by seed.
    gap = seed_gap(table) if trial.get('trains', True) else None
    if gap is not None and abs(difference['value']) < gap:
        remarks.append(f'smaller than the gap between two seeds of the baseline ({points(gap)})')
    notes = ''.join(f'<small class="remark">{remark}</small>' for remark in remarks)
    return [value, f'<span class="{word.split()[0]}">{_MARKS[word]} {word}</span>{notes}']


def _parameters(number):
    return NOTHING if number is None else f'{number / 1e6:.2f} million'


def _per_frame(seconds):
    return NOTHING if seconds is None else f'{1000 * seconds:.3g} ms'


def facts(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lists what was run, where and on what.

    Args:
        table: Content of ``table.json``.

    Returns:
        Pairs of a name and HTML.
    """
    data = table.get('data') or {}
    amounts = [
        counted(data[key], key[:-1]) for key in ('videos', 'frames', 'objects') if key in data
    ]
    versions = [f'{name} {version}' for name, version in (table.get('versions') or {}).items()]
    pairs = [
        ('Preset', table.get('preset')),
        ('Data scored on', ': '.join(filter(None, [data.get('name'), ', '.join(amounts)]))),
        ('Date', table.get('date')),
        ('Hardware', table.get('hardware')),
        ('Versions', ', '.join(versions)),
    ]
    coded = [('Command', table.get('command')), ('Digest of the code', table.get('code'))]
    listed = [(name, escaped(value)) for name, value in pairs if value]
    return listed + [(name, f'<code>{escaped(value)}</code>') for name, value in coded if value]
