"""A bar chart of what each kind of error costs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vispropnet.evaluation.error_kinds import KINDS, LABELS
from vispropnet.fileio import atomic_path
from vispropnet.visualization.curves import COLORS, FAINT, INK


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
    figure = Figure(figsize=(7.2, 1.3 + len(KINDS) * (0.28 + 0.22 * len(results))), dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    height = 0.8 / len(results)
    ends = [100 * gain['AP'] for _, _, gains in results for gain in gains.values()]
    # A point at least, so that next to nothing does not look like much.
    low, high = min(0, *ends), max(1, *ends)
    bars = []
    for number, (_, _, gains) in enumerate(results):
        offsets = [row + (number - (len(results) - 1) / 2) * height for row in range(len(KINDS))]
        values = [100 * gains[kind]['AP'] for kind in KINDS]
        color = COLORS[number % len(COLORS)]
        bars.append(axes.barh(offsets, values, height=0.9 * height, color=color))
        for offset, value in zip(offsets, values, strict=True):
            axes.text(
                max(value, 0) + 0.01 * (high - low),
                offset,
                f'{round(value, 1) + 0.0:.1f}',  # no -0.0
                va='center',
                fontsize=9,
                color=INK,
            )
    axes.set_yticks(range(len(KINDS)), [LABELS[kind] for kind in KINDS], color=INK)
    axes.invert_yaxis()
    axes.set_xlim(1.05 * low, high + 0.12 * (high - low))
    axes.set_xlabel('mAP gained if this kind of error were fixed, in points', color=INK)
    axes.tick_params(colors=FAINT, labelcolor=INK)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    for side in ('top', 'right', 'left'):
        axes.spines[side].set_visible(False)
    names = [f'{name} (mAP {100 * score:.1f})' for name, score, _ in results]
    legend = axes.legend(
        bars, names, loc='lower center', bbox_to_anchor=(0.5, 1), frameon=False, labelcolor=INK
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name, parse_math=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, bbox_inches='tight')
    return Path(path)
