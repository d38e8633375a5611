"""The table of trials: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vispropnet.fileio import atomic_path, write_json
from vispropnet.trials.catalogue import FIGURES

_COSTS = ('parameters', 'train_s_per_frame', 'test_s_per_frame')


def write_tables(out: Path, table: Mapping[str, Any]) -> list[Path]:
    """Writes ``table.md``, ``table.csv`` and ``table.json``.

    Args:
        out: The folder.
        table: From :func:`~vispropnet.trials.scoring.score_trials`, with ``command``, ``date``,
            ``hardware``, ``code`` and ``versions``.

    Returns:
        The paths.
    """
    texts = {'table.md': markdown(table), 'table.csv': comma_separated(table)}
    for name, text in texts.items():
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding='utf-8')
    write_json(out / 'table.json', table, indent=1)
    return [out / 'table.md', out / 'table.csv', out / 'table.json']


def markdown(table: Mapping[str, Any]) -> str:
    """Lays the table out in Markdown.

    Args:
        table: As for :func:`write_tables`.

    Returns:
        The text: what was run, the table, the gap between seeds, the published figures if any, and
        failures.
    """
    data = table['data']
    lines = [
        f'# Trials, preset {table["preset"]}',
        '',
        f'`{table["command"]}`, {table["date"]}, {table["hardware"]}, code {table["code"]}. '
        f'Tested on {data["name"]}: {data["videos"]} videos, {data["frames"]} frames, '
        f'{data["objects"]} objects.',
        '',
        f'In brackets: {table["bootstrap"]["level"]:.0%} intervals, of '
        f'{table["bootstrap"]["resamples"]} resamples of the test videos. They say what other '
        'videos would change. Difference: mAP minus that of the baseline, on the same resampled '
        'videos; after ± what other seeds would change in it, from the spread of the seeds within '
        'trials; last, both together. Where the last interval holds 0, nothing is decided.',
        '',
        *_rows(_main_rows(table)),
        '',
        *seed_lines(table),
    ]
    if any(trial['published'] for trial in table['trials']):
        lines += ['', *_published_lines(table)]
    for trial in table['trials']:
        if trial['failure']:
            failure = trial['failure']
            lines += ['', f'**{trial["title"]} failed** in {failure["step"]} ({failure["run"]}):']
            lines += ['', '```', *failure['lines'], '```']
    return '\n'.join(lines) + '\n'


def seed_lines(table: Mapping[str, Any]) -> list[str]:
    """Sets the gap between seeds beside the gap between trials.

    Args:
        table: As for :func:`write_tables`.

    Returns:
        Lines.
    """
    done = [trial for trial in table['trials'] if trial['figures']]
    lines = []
    for trial in done:
        figure = trial['figures']['mAP']
        if figure['seed_spread'] is not None:
            values = ', '.join(f'{value:.4f}' for value in figure['by_seed'].values())
            lines.append(
                f'- {trial["title"]}: mAP of its seeds {values}; gap {figure["seed_spread"]:.4f}'
            )
    if not lines:
        return ['No trial was run from two seeds: what a seed changes is not known here.']
    baseline = [trial for trial in done if trial['name'] == table['baseline']]
    spread = baseline[0]['figures']['mAP']['seed_spread'] if baseline else None
    trained = [trial for trial in done if trial['trains'] and _difference(trial)]
    gaps = [abs(_difference(trial)['value']) for trial in trained]
    if spread is not None and gaps:
        within = sum(gap <= spread for gap in gaps)
        lines.append(
            f'- Trained trials differ from the baseline by {min(gaps):.4f} to {max(gaps):.4f}; '
            f'{within} of {len(gaps)} by no more than the seeds of the baseline from each other.'
        )
    return ['Between seeds and between trials:', '', *lines]


def comma_separated(table: Mapping[str, Any]) -> str:
    """Lays the table out as CSV, unrounded, one row a trial.

    Args:
        table: As for :func:`write_tables`.

    Returns:
        The text. Empty cells are what is not known.
    """
    stream = io.StringIO()
    header = ['trial', 'title', 'state', 'seeds']
    for name in FIGURES:
        header += [name, f'{name}_low', f'{name}_high', f'{name}_seed_spread']
        header += [f'{name}_difference', f'{name}_difference_low', f'{name}_difference_high']
        header += [f'{name}_seed_error', f'{name}_both_low', f'{name}_both_high']
        header.append(f'{name}_published')
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow([*header, *_COSTS])
    for trial in table['trials']:
        row = [trial['name'], trial['title'], trial['state'], len(trial['seeds'])]
        for name in FIGURES:
            figure = (trial['figures'] or {}).get(name) or {}
            difference = (trial['difference'] or {}).get(name) or {}
            row += [figure.get('mean'), *(figure.get('ci') or (None, None))]
            row += [figure.get('seed_spread'), difference.get('value')]
            row += difference.get('ci') or (None, None)
            row += [difference.get('seed_error'), *(difference.get('ci_both') or (None, None))]
            row.append((trial['published'] or {}).get(name))
        writer.writerow([*row, *(trial[name] for name in _COSTS)])
    return stream.getvalue()


def _main_rows(table: Mapping[str, Any]) -> list[list[str]]:
    rows = [
        ['trial', *FIGURES, 'difference', '± seeds', 'both', 'seeds', 'parameters']
        + ['train, ms/frame', 'test, ms/frame']
    ]
    for trial in table['trials']:
        row = [trial['title']]
        if trial['figures'] is None:
            rows.append([*row, *[trial['state']] * len(FIGURES), *[''] * 7])
            continue
        row += [_with_interval(one['mean'], one['ci']) for one in _figures(trial)]
        difference = _difference(trial)
        row.append(_with_interval(difference['value'], difference['ci'], '+') if difference else '')
        error, both = (difference or {}).get('seed_error'), (difference or {}).get('ci_both')
        row.append('' if error is None else f'± {error:.3f}')
        row.append('' if both is None else f'[{both[0]:+.3f}, {both[1]:+.3f}]')
        row.append(str(len(trial['seeds'])))
        row.append(_number(trial['parameters'], 1e6, ' M', 2))
        row.append(_number(trial['train_s_per_frame'], 1e-3, '', 1))
        row.append(_number(trial['test_s_per_frame'], 1e-3, '', 1))
        rows.append(row)
    return rows


def _published_lines(table: Mapping[str, Any]) -> list[str]:
    rows = [['published', *FIGURES]]
    for trial in table['trials']:
        if trial['published']:
            values = [trial['published'][name] for name in FIGURES]
            rows.append([trial['title'], *('-' if one is None else f'{one:.4f}' for one in values)])
    return [
        'Published figures are single runs, of the official validation videos of YouTube-VIS 2019. '
        'Ours are of videos left out of the training set, with YouTube-VIS 2021 also of other '
        'data, so at most differences compare:',
        '',
        *_rows(rows),
    ]


def _rows(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    lines.insert(1, '|---' + '|--:' * (len(rows[0]) - 1) + '|')
    return lines


def _figures(trial: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [trial['figures'][name] for name in FIGURES]


def _difference(trial: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return (trial['difference'] or {}).get('mAP')


def _with_interval(value: float, ends: Sequence[float] | None, sign: str = '') -> str:
    text = f'{value:{sign}.3f}'
    return text if ends is None else f'{text} [{ends[0]:{sign}.3f}, {ends[1]:{sign}.3f}]'


def _number(value: float | None, unit: float, word: str, digits: int) -> str:
    return '-' if value is None else f'{value / unit:.{digits}f}{word}'
