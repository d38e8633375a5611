"""Charts: training curves of runs, what each kind of error costs, differences to a baseline."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.ndimage import uniform_filter1d

from vispropnet.errors import UserError
from vispropnet.evaluation.error_kinds import KINDS, LABELS
from vispropnet.fileio import atomic_path
from vispropnet.visualization.text import short_names
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
ACCURACIES = ('acc', 'match_accuracy', 'propattn_accuracy')
VALIDATION = ('mAP', 'AP50')
# Okabe and Ito's colours, which the colour-blind can tell apart, without the pale yellow.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#333333')
# Runs differ by colour first, then by line style.
LOOKS = cycler(ls=['-', '--', ':', '-.']) * cycler(color=COLORS)
INK, FAINT = '#222222', '#8a8f98'
STYLE = {
    **dict.fromkeys(('axes.edgecolor', 'xtick.color', 'ytick.color'), FAINT),
    **dict.fromkeys(('axes.labelcolor', 'axes.titlecolor', 'legend.labelcolor'), INK),
    **dict.fromkeys(('xtick.labelcolor', 'ytick.labelcolor'), INK),
    **dict.fromkeys(('axes.spines.right', 'axes.spines.top', 'legend.frameon'), False),
    'axes.axisbelow': True,
    'axes.titlelocation': 'left',
    'axes.titlesize': 10,
    'grid.color': '#e6e8eb',
    'text.parse_math': False,  # names may have dollars
}
SMOOTHING_SHARE = 0.04


def plot_losses(
    work_dirs: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    names: Sequence[str] | None = None,
) -> Path:
    """Plots what runs logged: a panel per loss term, accuracy and validation metric.

    Strong lines, one for each run that has the term, are running means; the pale ones behind them
    the values as logged, left out beyond 7 runs. Validation metrics are joined as they are.

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
    if out.suffix[1:].lower() not in FigureCanvasAgg.get_supported_filetypes():
        raise UserError(f'{out}: unknown picture format; name it .png, .pdf or .svg.')
    names = _run_names(work_dirs, names)
    runs = dict(zip(names, map(read_scalars, work_dirs), strict=True))
    for name, rows in runs.items():
        if not any('loss' in row for row in rows):
            raise UserError(f"the log of {name} has no training rows (no key 'loss').")
    titles = _panel_titles({key for rows in runs.values() for row in rows for key in row})
    columns = min(len(titles), 4 if len(titles) > 6 else 3)
    lines = -(-len(titles) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.3 * columns + 0.3, 2.75 * lines + 0.5), layout='constrained')
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
        figure.supxlabel('iteration', fontsize=9, color=INK)
        axes = None
        for number, (key, title) in enumerate(titles.items(), start=1):
            axes = figure.add_subplot(lines, columns, number, sharex=axes, title=title)
            axes.grid(visible=True)
            axes.tick_params(labelsize=8.5)
            _plot_key(axes, runs, key)
        _explain_lines(figure, names)
        with atomic_path(out) as temporary:
            figure.savefig(temporary, dpi=120)
    return out


def draw_error_chart(
    path: str | os.PathLike,
    results: Sequence[tuple[str, float, Mapping[str, Mapping[str, float]]]],
) -> Path:
    """Draws what mAP would be gained if one kind of error were mended.

    Args:
        path: The picture (``.png``, ``.pdf`` or ``.svg``), written whole or not at all.
        results: For each result its name, its mAP, and the gains from
            :func:`~vispropnet.evaluation.error_kinds.error_gains`.

    Returns:
        ``path``.

    Raises:
        UserError: if it cannot be written.
    """
    points = 100 * np.array([[gains[kind]['AP'] for kind in KINDS] for _, _, gains in results])
    height = 0.8 / len(results)
    rows = np.arange(len(KINDS))
    with matplotlib.rc_context({**STYLE, 'axes.spines.left': False}):
        size = 7.2, 1.3 + len(KINDS) * (0.28 + 0.22 * len(results))
        axes = Figure(figsize=size, dpi=130).add_subplot()
        bars = []
        for number, values in enumerate(points):
            places = rows + (number - (len(results) - 1) / 2) * height
            color = COLORS[number % len(COLORS)]
            bars.append(axes.barh(places, values, height=0.9 * height, color=color))
            labels = [f'{value + 0.0:.1f}' for value in values.round(1)]  # no -0.0
            axes.bar_label(bars[-1], labels, padding=3, fontsize=9, color=INK)
        axes.set_yticks(rows, [LABELS[kind] for kind in KINDS])
        axes.invert_yaxis()
        # A point at least, so that next to nothing does not look like much.
        low, high = min(0, points.min()), max(1, points.max())
        room = 0.12 * (high - low)  # for the values
        axes.set_xlim(low - room if low else 0, high + room)
        axes.set_xlabel('mAP gained if this kind of error were fixed, in points')
        axes.axvline(0, color=FAINT, linewidth=0.8)
        names = [f'{name} (mAP {100 * score:.1f})' for name, score, _ in results]
        _add_legend(axes, bars, names, loc='lower center', bbox_to_anchor=(0.5, 1))
        with atomic_path(path) as temporary:
            axes.figure.savefig(temporary, bbox_inches='tight')
    return Path(path)


def draw_differences(
    path: str | os.PathLike,
    baseline: tuple[str, Sequence[float]],
    trials: Sequence[tuple[str, Mapping[str, Any], Sequence[float]]],
    metric: str = 'mAP',
) -> Path:
    """Draws the differences of trials to their baseline, a line each, with their intervals.

    Args:
        path: The picture (``.png``, ``.pdf`` or ``.svg``), written whole or not at all.
        baseline: Its name and its metric by seed.
        trials: Of each its name, its difference (``value``, ``ci`` over videos, ``ci_both`` over
            videos and seeds; both may be None) and its metric by seed.
        metric: Name of the metric, a share.

    Returns:
        ``path``.

    Raises:
        UserError: if it cannot be written.
    """
    mean = float(np.mean(baseline[1]))
    decided = ('#009E73', 'better'), ('#D55E00', 'worse'), ('#5b6470', 'not decided')
    with matplotlib.rc_context({**STYLE, 'axes.spines.left': False}):
        axes = Figure(figsize=(8.6, 1.3 + 0.34 * (len(trials) + 1)), dpi=130).add_subplot()
        axes.axvline(0, color=INK, linewidth=1)
        for row, (_, difference, seeds) in enumerate([('', None, baseline[1]), *trials]):
            marks = [100 * (value - mean) for value in seeds]
            axes.plot(marks, [row - 0.28] * len(marks), '|', color=FAINT, markersize=6)
            if difference is None:
                continue
            low, high = difference['ci_both'] or (0, 0)
            color = decided[0 if low > 0 else 1 if high < 0 else 2][0]
            for ends, width in ((difference['ci_both'], 1.2), (difference['ci'], 4)):
                if ends is not None:
                    points = [100 * end for end in ends]
                    axes.plot(points, [row, row], color=color, lw=width, solid_capstyle='round')
            axes.plot(100 * difference['value'], row, 'o', color=color, mec='white', ms=8)
            ends = difference['ci_both'] or difference['ci']
            text = f'{100 * difference["value"]:+.1f}'
            text += ' [{:+.1f}, {:+.1f}]'.format(*(100 * end for end in ends)) if ends else ''
            place = dict(xycoords=('axes fraction', 'data'), va='center', fontsize=9, color=INK)
            axes.annotate(text, (1.02, row), **place)
        axes.set_yticks(range(len(trials) + 1), [baseline[0], *(name for name, *_ in trials)])
        axes.tick_params(axis='y', length=0)
        axes.set_ylim(len(trials) + 0.5, -0.7)
        axes.grid(visible=True, axis='x')
        axes.set_xlabel(
            f'{metric} minus that of {baseline[0]}, in points. Thick: 95 % interval over videos; '
            'thin: over videos and seeds; upright marks: single seeds',
            fontsize=8.5,
        )
        handles = [Line2D([], [], color=color, marker='o', mec='white') for color, _ in decided]
        words = [word for _, word in decided]
        _add_legend(axes, handles, words, loc='lower center', bbox_to_anchor=(0.5, 1), ncols=3)
        with atomic_path(path) as temporary:
            axes.figure.savefig(temporary, bbox_inches='tight')
    return Path(path)


def _run_names(work_dirs: Sequence[str | os.PathLike], names: Sequence[str] | None) -> list[str]:
    folders = [Path(work_dir).resolve() for work_dir in work_dirs]
    if len(set(folders)) < len(folders):
        raise UserError('the same work dir is given twice.')
    if names is None:
        return short_names(folders)
    given = ' '.join(names)
    if len(names) != len(folders):
        raise UserError(f'{len(names)} names are given for {len(folders)} work dirs: {given}.')
    if len(set(names)) < len(names):
        raise UserError(f'the same name is given twice: {given}.')
    return list(names)


def _panel_titles(keys: set[str]) -> dict[str, str]:
    """Gives the titles of the panels by the keys that they show, in their order."""
    titles = {key: f'{title} ({key})' for key, title in TITLES.items()}
    titles |= {key: key for key in sorted(keys - set(TITLES)) if key.startswith('loss')}
    titles |= {key: f'Accuracy in training, % ({key})' for key in ACCURACIES}
    for name in VALIDATION:
        found = sorted(key for key in keys if key.rpartition('/')[2] == name)
        titles |= {key: f'Validation ({key})' for key in found}
    return {key: title for key, title in titles.items() if key in keys}


def _plot_key(axes: Axes, runs: Mapping[str, list[dict]], key: str) -> None:
    validation = key.rpartition('/')[2] in VALIDATION
    width, opacity = _strength(len(runs))
    everything = []
    for rows, look in zip(runs.values(), itertools.cycle(LOOKS), strict=False):
        points = [(row['iter'], row[key]) for row in rows if key in row]
        if not points:
            continue
        iterations, values = np.array(points, dtype=np.float64).T
        means = values if validation else _running_mean(values)
        if opacity and not validation:
            axes.plot(iterations, values, alpha=opacity, lw=0.9, **look)
        dots = 'o' if validation or len(values) == 1 else None
        axes.plot(iterations, means, marker=dots, ms=4, lw=width, **look)
        everything.append((values, means))
    if validation:
        axes.set_ylim(bottom=0)
        return
    values, means = (np.concatenate(part) for part in zip(*everything, strict=True))
    values = values[np.isfinite(values)]
    # Losses are shown from zero, and rare spikes cut, so that the rest is seen. A lone spike lifts
    # the running mean over its window, far beyond where the mean is mostly.
    if key.startswith('loss') and len(values):
        top = min(np.nanmax(means), 6 * np.nanquantile(means, 0.9))
        top = max(top, np.quantile(values, 0.98))
        axes.set_ylim(min(0, values.min()), 1.06 * top if top > 0 else None)


def _strength(count: int) -> tuple[float, float]:
    """Width of strong lines, and opacity of those as logged, which would hide all of many runs."""
    return (1.8, min(0.22, 0.66 / count)) if count <= len(COLORS) else (1.3, 0)


def _explain_lines(figure: Figure, names: Sequence[str]) -> None:
    width, opacity = _strength(len(names))
    looks = itertools.islice(itertools.cycle(LOOKS), len(names))
    handles = [Line2D([], [], lw=width + 0.6, **look) for look in looks]
    if opacity:
        labels = [*names, 'running mean', 'as logged']
        handles.append(Line2D([], [], color=FAINT, lw=2.4))
        handles.append(Line2D([], [], color=FAINT, lw=0.9, alpha=0.6))
    else:
        labels = [*names, '(running means)']
        handles.append(Line2D([], [], ls='none'))
    columns = int(10 * figure.get_figwidth() / (6 + max(map(len, labels))))
    rows = -(-len(handles) // max(1, columns))
    # Rows of about one length, instead of a last one with little in it.
    columns = -(-len(handles) // rows)
    _add_legend(figure, handles, labels, loc='outside upper left', ncols=columns, handlelength=2.8)


def _add_legend(owner: Figure | Axes, handles: list, labels: list[str], **options: Any) -> None:
    legend = owner.legend(handles, ['x'] * len(handles), **options)
    # Now, as matplotlib drops labels that begin with an underscore.
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Centred mean over a share of all points, of the finite ones; NaN where a value is not."""
    window = 2 * round(len(values) * SMOOTHING_SHARE / 2) + 1
    finite = np.isfinite(values)
    sums, counts = (
        uniform_filter1d(part.astype(float), window, mode='constant')
        for part in (np.where(finite, values, 0), finite)
    )
    return np.where(finite, sums / np.maximum(counts, 0.5 / window), np.nan)
