"""Training curves from the logs that mmengine writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path

LOG_PATTERN = '*/vis_data/scalars.json'
# Panels in this order; loss terms that are not listed follow the listed ones.
TITLES = {
    'loss': 'Total',
    'loss_rpn_cls': 'RPN classification',
    'loss_rpn_bbox': 'RPN box',
    'loss_cls': 'Classification',
    'loss_bbox': 'Box',
    'loss_mask': 'Mask',
    'loss_match': 'Matching',
    'loss_prop': 'Propagation',
}
ACCURACIES = {'acc': '-', 'match_accuracy': '--'}
VALIDATION = {'mAP': '-', 'AP50': '--'}
# Okabe and Ito's colours, which the colour-blind can tell apart, without the pale yellow.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#333333')
INK, FAINT = '#222222', '#8a8f98'
SMOOTHING_SHARE = 0.04


def read_scalars(work_dir: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads what a run logged, in order.

    A run that was resumed has one log per start. They are put together by time: once a later log
    has training rows, they replace the older rows from its first iteration on, so that iterations
    done twice after a crash stand there once. A last line that was cut short is left out.

    Args:
        work_dir: Folder of the run, with ``<timestamp>/vis_data/scalars.json``; a folder of one
            timestamp will do.

    Returns:
        One dict per logged row, by rising ``iter``. Training rows have ``loss`` and its terms as
        logged. Validation rows have metrics such as ``ytvis/mAP``; their ``iter`` is filled in: the
        number of iterations trained before the validation.

    Raises:
        UserError: if there is no log, it has no rows, or a line other than the last is damaged.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise UserError(f'work dir {work_dir} not found.')
    files = sorted(work_dir.glob(LOG_PATTERN), key=lambda path: path.parts[-3])
    files = files or [path for path in [work_dir / 'vis_data' / 'scalars.json'] if path.is_file()]
    if not files:
        raise UserError(
            f'work dir {work_dir} has no logs: expected {LOG_PATTERN} in it, as tools/train.py '
            'writes them.'
        )
    rows: list[dict[str, Any]] = []
    for path in files:
        later = _fill_in_iterations(_read_lines(path))
        trained = [row['iter'] for row in later if 'loss' in row]
        if trained:
            rows = [row for row in rows if row['iter'] < trained[0]]
        replaced = {row['iter'] for row in later if 'loss' not in row}
        rows = [row for row in rows if 'loss' in row or row['iter'] not in replaced]
        rows += later
    if not rows:
        raise UserError(f'work dir {work_dir}: its log {files[-1]} has no complete line yet.')
    return sorted(rows, key=lambda row: row['iter'])


def plot_losses(work_dirs: Sequence[str | os.PathLike], out: str | os.PathLike) -> Path:
    """Plots the losses of one or several runs: a panel per term, a line per run.

    Accuracies share a panel, and so do the mAP and AP50 of validations, where they were logged.
    Strong lines are running means, the pale ones behind them the values as logged.

    Args:
        work_dirs: Folders of the runs.
        out: The picture to write; its suffix names the format (``.png``, ``.pdf``, ``.svg``).

    Returns:
        The path written.

    Raises:
        UserError: if a folder has no logs or losses, or the format is not known.
    """
    out = Path(out)
    formats = FigureCanvasAgg.get_supported_filetypes()
    if out.suffix[1:].lower() not in formats:
        raise UserError(f'{out}: unknown picture format; name it .png, .pdf or .svg.')
    runs = dict(zip(_run_names(work_dirs), map(read_scalars, work_dirs), strict=True))
    for name, rows in runs.items():
        if not any('loss' in row for row in rows):
            raise UserError(f"the log of {name} has no training rows (no key 'loss').")
    keys = {key for rows in runs.values() for row in rows for key in row}
    terms = [key for key in TITLES if key in keys]
    terms += sorted(key for key in keys - set(TITLES) if key.startswith('loss'))
    accuracies = {key: line for key, line in ACCURACIES.items() if key in keys}
    metrics = {
        key: line
        for name, line in VALIDATION.items()
        for key in sorted(keys)
        if key.rpartition('/')[2] == name
    }
    figure, panels = _make_grid(len(terms) + bool(accuracies) + bool(metrics))
    for term, axes in zip(terms, panels, strict=False):
        _plot_loss(axes, runs, term)
    if accuracies:
        _plot_lines(panels[len(terms)], runs, 'Accuracy in training, %', accuracies)
    if metrics:
        _plot_lines(panels[-1], runs, 'Validation', metrics, marker='o')
        panels[-1].set_ylim(bottom=0)
    _add_legend(figure, runs)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=120)
    return out


def _read_lines(path: Path) -> list[dict[str, Any]]:
    lines = [line for line in path.read_bytes().split(b'\n') if line.strip()]
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise UserError(f'log {path}: line {number} is not valid JSON (damaged?).') from None
        if not isinstance(row, dict):
            raise UserError(f'log {path}: line {number} is not a JSON object.')
        rows.append(row)
    return rows


def _fill_in_iterations(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gives validation rows, whose ``step`` counts epochs or iterations, an ``iter``."""
    filled, last, epoch, per_epoch = [], 0, None, 0.0
    for row in rows:
        if 'iter' in row:
            last, epoch = row['iter'], row.get('epoch')
            per_epoch = max(per_epoch, last / epoch) if epoch else per_epoch
        else:
            step = row.get('step', last)
            # The last rows of an epoch need not be logged; the longest epoch so far says its end.
            step = round(per_epoch * step) if step == epoch else step
            row = {**row, 'iter': max(last, step)}
        filled.append(row)
    return filled


def _run_names(work_dirs: Sequence[str | os.PathLike]) -> list[str]:
    """Names runs by their folders, with as many parent folders as it takes to tell them apart."""
    parts = [Path(work_dir).resolve().parts for work_dir in work_dirs]
    if len(set(parts)) < len(parts):
        raise UserError('the same work dir is given twice.')
    for depth in range(1, max(map(len, parts)) + 1):
        names = ['/'.join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _make_grid(count: int) -> tuple[Figure, list[Axes]]:
    """Makes a figure of ``count`` panels with one axis of iterations."""
    columns = min((4, 3, 2), key=lambda width: -count % width) if count > 3 else count
    rows = -(-count // columns)
    figure = Figure(figsize=(4.3 * columns + 0.3, 2.75 * rows + 0.5), layout='constrained')
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for index, axes in enumerate(grid):
        axes.set_visible(index < count)
        axes.spines[['top', 'right']].set_visible(False)
        axes.spines[['left', 'bottom']].set_color(FAINT)
        axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=8.5)
        axes.grid(color='#e6e8eb', linewidth=0.8)
        axes.set_axisbelow(True)
        if index + columns >= count:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel('iteration', fontsize=9, color=INK)
    return figure, list(grid[:count])


def _plot_loss(axes: Axes, runs: Mapping[str, list[dict]], term: str) -> None:
    words = TITLES.get(term)
    values, means = _plot_lines(axes, runs, f'{words} ({term})' if words else term, {term: '-'})
    finite = values[np.isfinite(values)]
    if len(finite):
        # From zero, as losses are. Rare spikes are cut, so that the rest is seen; a lone one lifts
        # the running mean over its window, far beyond where the mean is most of the time.
        top = min(np.nanmax(means), 6 * np.nanquantile(means, 0.9))
        top = max(top, np.quantile(finite, 0.98))
        axes.set_ylim(min(0, finite.min()), 1.06 * top if top > 0 else None)


def _plot_lines(
    axes: Axes,
    runs: Mapping[str, list[dict]],
    title: str,
    keys: Mapping[str, str],
    marker: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Plots keys (each with its line style) of all runs, and returns all values and all means.

    With a marker, for rows that are few, lines join the values as they are.
    """
    everything = [(np.zeros(0), np.zeros(0))]
    for rows, color in zip(runs.values(), _colors(len(runs)), strict=True):
        for key, line in keys.items():
            points = [(row['iter'], row[key]) for row in rows if key in row]
            iterations, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
            means = values if marker else _running_mean(values)
            if not marker:
                axes.plot(iterations, values, color=color, alpha=0.22, lw=0.9)
            dot = 'o' if len(values) == 1 else marker
            axes.plot(iterations, means, color=color, ls=line, marker=dot, ms=4, lw=1.8)
            everything.append((values, means))
    axes.set_title(title, loc='left', fontsize=10, color=INK)
    if len(keys) > 1:
        handles = [
            Line2D([], [], color=INK, ls=line, lw=1.4, label=key) for key, line in keys.items()
        ]
        axes.legend(handles=handles, frameon=False, fontsize=8.5, loc='lower right')
    values, means = (np.concatenate(part) for part in zip(*everything, strict=True))
    return values, means


def _colors(count: int) -> Sequence:
    if count <= len(COLORS):
        return COLORS[:count]
    return colormaps['viridis'](np.linspace(0, 0.92, count)).tolist()


def _add_legend(figure: Figure, runs: Mapping[str, list[dict]]) -> None:
    handles = [
        Line2D([], [], color=color, lw=2.4, label=name)
        for name, color in zip(runs, _colors(len(runs)), strict=True)
    ]
    handles.append(Line2D([], [], color=FAINT, lw=2.4, label='running mean'))
    handles.append(Line2D([], [], color=FAINT, lw=0.9, alpha=0.6, label='as logged'))
    columns = max(1, min(len(handles), int(130 / (6 + max(map(len, runs))))))
    figure.legend(
        handles=handles, loc='outside upper left', ncols=columns, frameon=False, fontsize=10
    )


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Centred mean over a share of all points, of the finite ones; NaN where a value is not."""
    half = round(len(values) * SMOOTHING_SHARE / 2)
    good = np.isfinite(values)
    sums = np.concatenate([[0], np.cumsum(np.where(good, values, 0))])
    counts = np.concatenate([[0], np.cumsum(good)])
    position = np.arange(len(values))
    first, end = np.maximum(position - half, 0), np.minimum(position + half + 1, len(values))
    mean = (sums[end] - sums[first]) / np.maximum(counts[end] - counts[first], 1)
    return np.where(good, mean, np.nan)
