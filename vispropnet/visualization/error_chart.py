"""A bar chart of what each kind of error costs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from vispropnet.evaluation.error_kinds import KINDS, LABELS
from vispropnet.fileio import atomic_path
from vispropnet.visualization.curves import COLORS, FAINT, INK, STYLE


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
        legend = axes.legend(bars, ['x'] * len(bars), loc='lower center', bbox_to_anchor=(0.5, 1))
        # Now, as matplotlib drops labels that begin with an underscore.
        for text, name in zip(legend.get_texts(), names, strict=True):
            text.set_text(name)
        with atomic_path(path) as temporary:
            axes.figure.savefig(temporary, bbox_inches='tight')
    return Path(path)
