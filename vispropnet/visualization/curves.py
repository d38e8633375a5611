"""Training curves of one or several runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path
from vispropnet.visualization.training_log import read_scalars

# Panels in this order; loss terms that are not listed follow the listed ones.
TITLES = {
    'loss_rpn_cls': 'RPN classification',
    'loss_rpn_bbox': 'RPN box',
    'loss_match': 'Matching',
    'loss_cls': 'Classification',
    'loss_bbox': 'Box',
    'loss': 'Total',
    'loss_mask': 'Mask',
    'loss_propattn': 'Propagation attention',
    'loss_propmask': 'Propagation mask',
}
ACCURACIES = {'acc': '-', 'match_accuracy': '--', 'propattn_accuracy': ':'}
VALIDATION = {'mAP': '-', 'AP50': '--'}
# Okabe and Ito's colours, which the colour-blind can tell apart, without the pale yellow.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#333333')
# What tells runs apart once the colours are used up.
RUN_STYLES = ('-', '--', ':', '-.')
INK, FAINT = '#222222', '#8a8f98'
SMOOTHING_SHARE = 0.04


def plot_losses(
    work_dirs: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    names: Sequence[str] | None = None,
) -> Path:
    """Plots the losses of one or several runs: a panel per term, a line per run.

    Accuracies share a panel, and so do the mAP and AP50 of validations, where they were logged.
    Strong lines are running means, the pale ones behind them the values as logged. Beyond 7 runs
    line styles tell runs apart too: each accuracy and metric then has a panel of its own, and the
    values as logged are left out. Runs without a term are not in its panel.

    Args:
        work_dirs: Folders of the runs.
        out: The picture to write; its suffix names the format (``.png``, ``.pdf``, ``.svg``).
        names: What to call the runs, one name each; otherwise as their folders.

    Returns:
        The path written.

    Raises:
        UserError: if a folder has no logs or losses, the names do not fit, or the format is not
            known.
    """
    out = Path(out)
    formats = FigureCanvasAgg.get_supported_filetypes()
    if out.suffix[1:].lower() not in formats:
        raise UserError(f'{out}: unknown picture format; name it .png, .pdf or .svg.')
    runs = _read_runs(work_dirs, names)
    keys = {key for rows in runs.values() for row in rows for key in row}
    terms = [key for key in TITLES if key in keys]
    terms += sorted(key for key in keys - set(TITLES) if key.startswith('loss'))
    apart = len(runs) > len(COLORS)
    accuracies = {key: line for key, line in ACCURACIES.items() if key in keys}
    accuracies = _groups('Accuracy in training, %', accuracies, apart)
    metrics = {
        key: line
        for name, line in VALIDATION.items()
        for key in sorted(keys)
        if key.rpartition('/')[2] == name
    }
    metrics = _groups('Validation', metrics, apart)
    figure, grid = _make_grid(len(terms) + len(accuracies) + len(metrics))
    panels = iter(grid)
    # The shorter list comes first: zip takes from it before it takes a panel.
    for term, axes in zip(terms, panels, strict=False):
        _plot_loss(axes, runs, term)
    for (title, lines), axes in zip(accuracies.items(), panels, strict=False):
        _plot_lines(axes, runs, title, lines)
    for (title, lines), axes in zip(metrics.items(), panels, strict=False):
        _plot_lines(axes, runs, title, lines, marker='o')
        axes.set_ylim(bottom=0)
    _add_legend(figure, list(runs))
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=120)
    return out


def _read_runs(
    work_dirs: Sequence[str | os.PathLike], names: Sequence[str] | None
) -> dict[str, list[dict]]:
    """Gives the rows that runs logged, by the names of the runs."""
    names = _run_names(work_dirs, names)
    runs = dict(zip(names, map(read_scalars, work_dirs), strict=True))
    for name, rows in runs.items():
        if not any('loss' in row for row in rows):
            raise UserError(f"the log of {name} has no training rows (no key 'loss').")
    return runs


def _run_names(work_dirs: Sequence[str | os.PathLike], names: Sequence[str] | None) -> list[str]:
    """Names runs by their folders, with as many parent folders as it takes to tell them apart."""
    parts = [Path(work_dir).resolve().parts for work_dir in work_dirs]
    if len(set(parts)) < len(parts):
        raise UserError('the same work dir is given twice.')
    if names is not None:
        if len(names) != len(parts):
            given = ' '.join(names)
            raise UserError(f'{len(names)} names are given for {len(parts)} work dirs: {given}.')
        if len(set(names)) < len(names):
            raise UserError(f'the same name is given twice: {" ".join(names)}.')
        return list(names)
    for depth in range(1, max(map(len, parts)) + 1):
        found = ['/'.join(part[-depth:]) for part in parts]
        if len(set(found)) == len(found):
            break
    return found


def _groups(title: str, lines: Mapping[str, str], apart: bool) -> dict[str, dict[str, str]]:
    """Gives panels by title, each with its keys and their line styles: one of all, or each one."""
    if apart:
        return {f'{title} ({key})': {key: '-'} for key in lines}
    return {title: dict(lines)} if lines else {}


def _make_grid(count: int) -> tuple[Figure, list[Axes]]:
    """Makes a figure of ``count`` panels with one axis of iterations."""
    widths = (4, 3) if count > 6 else (4, 3, 2)
    columns = min(widths, key=lambda width: -count % width) if count > 3 else count
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
    pale, width = _pale(len(runs)), _width(len(runs))
    for rows, (color, style) in zip(runs.values(), _looks(len(runs)), strict=True):
        for key, line in keys.items():
            points = [(row['iter'], row[key]) for row in rows if key in row]
            if not points:
                continue
            iterations, values = np.array(points, dtype=np.float64).T
            means = values if marker else _running_mean(values)
            if pale and not marker:
                axes.plot(iterations, values, color=color, alpha=pale, lw=0.9)
            dot = 'o' if len(values) == 1 else marker
            line = line if style == '-' else style
            axes.plot(iterations, means, color=color, ls=line, marker=dot, ms=4, lw=width)
            everything.append((values, means))
    axes.set_title(title, loc='left', fontsize=10, color=INK)
    if len(keys) > 1:
        handles = [
            Line2D([], [], color=INK, ls=line, lw=1.4, label=key) for key, line in keys.items()
        ]
        axes.legend(handles=handles, frameon=False, fontsize=8.5, loc='lower right')
    values, means = (np.concatenate(part) for part in zip(*everything, strict=True))
    return values, means


def _looks(count: int) -> list[tuple[str, str]]:
    """Gives each run a colour and a line style; the colours are used up first."""
    looks = [(color, style) for style in RUN_STYLES for color in COLORS]
    return [looks[index % len(looks)] for index in range(count)]


def _pale(count: int) -> float:
    """Opacity of the lines as logged; behind many runs they would hide all."""
    return min(0.22, 0.66 / count) if count <= len(COLORS) else 0


def _width(count: int) -> float:
    return 1.8 if count <= len(COLORS) else 1.3


def _add_legend(figure: Figure, names: Sequence[str]) -> None:
    width = _width(len(names)) + 0.6
    handles = [
        Line2D([], [], color=color, ls=style, lw=width) for color, style in _looks(len(names))
    ]
    if _pale(len(names)):
        labels = [*names, 'running mean', 'as logged']
        handles.append(Line2D([], [], color=FAINT, lw=2.4))
        handles.append(Line2D([], [], color=FAINT, lw=0.9, alpha=0.6))
    else:
        labels = [*names, '(running means)']
        handles.append(Line2D([], [], ls='none'))
    columns = int(10 * figure.get_figwidth() / (6 + max(map(len, labels))))
    columns = max(1, min(len(handles), columns))
    # Rows of about one length, instead of a last one with little in it.
    columns = -(-len(handles) // -(-len(handles) // columns))
    legend = figure.legend(
        handles,
        list(map(str, range(len(handles)))),
        loc='outside upper left',
        ncols=columns,
        frameon=False,
        fontsize=10,
        handlelength=2.8,
    )
    # Now, as matplotlib drops labels that begin with an underscore and takes dollars for formulas.
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)


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
