"""The table of trials: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vispropnet.fileio import atomic_path, write_json
from vispropnet.trials.seeds import seeds_to_tell
from vispropnet.trials.study_file import METRICS

# By name: head, unit, what follows a number, digits.
_COSTS = {
    'parameters': ('parameters', 1e6, ' M', 2),
    'train_s_per_frame': ('train, ms/frame', 1e-3, '', 1),
    'test_s_per_frame': ('test, ms/frame', 1e-3, '', 1),
}
_MORE_COSTS = {
    'frames_kept': ('frames kept', 1, '', 1),
    'peak_mib': ('test, peak MiB', 1, '', 0),
}
# What a study may want to tell.
_DIFFERENCES = (0.02, 0.03, 0.05)
_OF_METRICS = (
    *('', '_low', '_high', '_seed_spread', '_difference', '_difference_low', '_difference_high'),
    *('_seed_error', '_both_low', '_both_high', '_published'),
)


def metrics_of(table: Mapping[str, Any]) -> Sequence[str]:
    """Names of the metrics of a table, the main one last; older tables do not say them."""
    return table.get('metrics', METRICS['mAP'])


def _costs_of(table: Mapping[str, Any]) -> dict[str, tuple[str, float, str, int]]:
    """Costs that a table has columns for."""
    measured = {name for trial in table['trials'] for name in _MORE_COSTS if trial.get(name)}
    return _COSTS | {name: one for name, one in _MORE_COSTS.items() if name in measured}


def write_tables(out: Path, table: Mapping[str, Any]) -> list[Path]:
    """Writes ``table.md``, ``table.csv`` and ``table.json`` into a folder.

    The table is that of :func:`~vispropnet.trials.scoring.score_trials`, with ``command``,
    ``date``, ``hardware``, ``code`` and ``versions``.
    """
    texts = {'table.md': markdown(table), 'table.csv': comma_separated(table)}
    for name, text in texts.items():
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding='utf-8')
    write_json(out / 'table.json', table, indent=1)
    return [out / name for name in (*texts, 'table.json')]


def markdown(table: Mapping[str, Any]) -> str:
    """Lays the table out in Markdown, with the gap between seeds, published metrics, failures."""
    data, bootstrap, metrics = table['data'], table['bootstrap'], metrics_of(table)
    costs = _costs_of(table)
    heads = ['trial', *metrics, 'difference', '± seeds', 'both', 'seeds']
    heads += [head for head, *_ in costs.values()]
    lines = [
        *(f'# {table["title"]}, preset {table["preset"]}', ''),
        f'`{table["command"]}`, {table["date"]}, {table["hardware"]}, code {table["code"]}. '
        f'Tested on {data["name"]}: {data["videos"]} videos, {data["frames"]} frames, '
        f'{data["objects"]} objects.',
        '',
        f'In brackets: {bootstrap["level"]:.0%} intervals, of {bootstrap["resamples"]} resamples '
        'of the test videos. They say what other videos would change. Difference: '
        f'{metrics[-1]} minus that of the baseline, on the same resampled videos; after ± what '
        'other seeds would change in it, from the spread of the seeds within trials; last, both '
        'together. Where the last interval holds 0, nothing is decided.',
        '',
        *_rows([heads, *(_main_row(trial, metrics, costs) for trial in table['trials'])]),
        '',
        *seed_lines(table),
    ]
    if any(trial['published'] for trial in table['trials']):
        lines += ['', table['published'], '', *_rows(_published_rows(table))]
    for trial in table['trials']:
        if trial['failure']:
            failure = trial['failure']
            lines += ['', f'**{trial["title"]} failed** in {failure["step"]} ({failure["run"]}):']
            lines += ['', '```', *failure['lines'], '```']
    return '\n'.join(lines) + '\n'


def seed_lines(table: Mapping[str, Any]) -> list[str]:
    """Sets the gap between seeds beside the gap between trials."""
    spreads, gaps, lines, main = {}, [], [], metrics_of(table)[-1]
    for trial in table['trials']:
        if not trial['figures']:
            continue
        figure = trial['figures'][main]
        if figure['seed_spread'] is not None:
            values = ', '.join(f'{value:.4f}' for value in figure['by_seed'].values())
            spreads[trial['name']] = spread = figure['seed_spread']
            lines.append(f'- {trial["title"]}: {main} of its seeds {values}; gap {spread:.4f}')
        if trial['trains'] and trial['difference']:
            gaps.append(abs(trial['difference'][main]['value']))
    if not lines:
        return ['No trial was run from two seeds: what a seed changes is not known here.']
    spread = spreads.get(table['baseline'])
    if spread is not None and gaps:
        within = sum(gap <= spread for gap in gaps)
        lines.append(
            f'- Trained trials differ from the baseline by {min(gaps):.4f} to {max(gaps):.4f}; '
            f'{within} of {len(gaps)} by no more than the seeds of the baseline from each other.'
        )
    return ['Between seeds and between trials:', '', *lines, *_power_lines(table)]


def _power_lines(table: Mapping[str, Any]) -> list[str]:
    """Says from how many seeds on differences would be decided, if all else stays as it is."""
    power, main = table.get('power'), metrics_of(table)[-1]
    if power is None:
        return []
    told = []
    for difference in _DIFFERENCES:
        count = seeds_to_tell(difference, **power)
        told.append(f'{difference:g} {f"from {count} on" if count else "by no number of them"}')
    return [
        f'- With as many seeds of a trial as of the baseline, a difference in {main} of '
        f'{", ".join(told)} would be decided, if seeds go on to vary by a standard deviation of '
        f'{power["deviation"]:.4f} and these videos leave ± {power["over_videos"]:.4f} (the '
        'median), which more seeds do not narrow, but more test videos do.'
    ]


def comma_separated(table: Mapping[str, Any]) -> str:
    """Lays the table out as CSV, unrounded, one row a trial; empty cells are not known."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    metrics, costs = metrics_of(table), _costs_of(table)
    columns = [f'{metric}{suffix}' for metric in metrics for suffix in _OF_METRICS]
    writer.writerow(['trial', 'title', 'state', 'seeds', *columns, *costs])
    nothing = (None, None)
    for trial in table['trials']:
        row = [trial['name'], trial['title'], trial['state'], len(trial['seeds'])]
        for metric in metrics:
            figure = (trial['figures'] or {}).get(metric, {})
            difference = (trial['difference'] or {}).get(metric, {})
            row += [figure.get('mean'), *(figure.get('ci') or nothing), figure.get('seed_spread')]
            row += [difference.get('value'), *(difference.get('ci') or nothing)]
            row += [difference.get('seed_error'), *(difference.get('ci_both') or nothing)]
            row.append((trial['published'] or {}).get(metric))
        writer.writerow([*row, *(trial.get(name) for name in costs)])
    return stream.getvalue()


def _main_row(
    trial: Mapping[str, Any],
    metrics: Sequence[str],
    costs: Mapping[str, tuple[str, float, str, int]],
) -> list[str]:
    if trial['figures'] is None:
        return [trial['title'], *[trial['state']] * len(metrics), *[''] * (4 + len(costs))]
    figures = [trial['figures'][metric] for metric in metrics]
    changes = ['', '', '']
    if trial['difference']:
        difference = trial['difference'][metrics[-1]]
        changes[0] = _with_interval(difference['value'], difference['ci'], '+')
        if difference['seed_error'] is not None:
            changes[1] = f'± {difference["seed_error"]:.3f}'
        if difference['ci_both'] is not None:
            changes[2] = _ends(difference['ci_both'], '+')
    return [
        trial['title'],
        *(_with_interval(figure['mean'], figure['ci']) for figure in figures),
        *changes,
        str(len(trial['seeds'])),
        *(_number(trial.get(name), *form) for name, (_, *form) in costs.items()),
    ]


def _published_rows(table: Mapping[str, Any]) -> list[list[str]]:
    metrics = metrics_of(table)
    rows = [['published', *metrics]]
    for trial in table['trials']:
        if trial['published']:
            values = [trial['published'][name] for name in metrics]
            rows.append([trial['title'], *(_number(value, 1, '', 4) for value in values)])
    return rows


def _rows(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    lines.insert(1, '|---' + '|--:' * (len(rows[0]) - 1) + '|')
    return lines


def _with_interval(value: float, ends: Sequence[float] | None, sign: str = '') -> str:
    text = f'{value:{sign}.3f}'
    return text if ends is None else f'{text} {_ends(ends, sign)}'


def _ends(ends: Sequence[float], sign: str) -> str:
    return f'[{ends[0]:{sign}.3f}, {ends[1]:{sign}.3f}]'


def _number(value: float | None, unit: float, word: str, digits: int) -> str:
    return '-' if value is None else f'{value / unit:.{digits}f}{word}'
