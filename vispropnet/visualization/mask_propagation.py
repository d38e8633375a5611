"""Pictures of masks that are carried through a clip, and of their quality by distance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vispropnet.evaluation.propagation_quality import Quality
from vispropnet.fileio import atomic_path
from vispropnet.visualization.carried_clip import CarriedFrame
from vispropnet.visualization.charts import COLORS, STYLE

# Arrows of neighbouring cells would cover each other.
ARROWS_ACROSS = 24


def draw_clip(frames: Sequence[CarriedFrame], path: str | os.PathLike) -> None:
    """Draws a clip: a row of frames, and one for each object with its features and offsets.

    Features are bright where they are strong, the mask has an outline, and arrows lead from cells
    of the mask to where they are read.

    Args:
        frames: Of the clip, in order.
        path: The picture.
    """
    objects = len(frames[0].masks)
    height, width = frames[0].image.shape[:2]
    across = 2.4
    size = across * len(frames), (across * height / width + 0.25) * (objects + 1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(size, dpi=120, layout='constrained')
        panels = figure.subplots(objects + 1, len(frames), squeeze=False)
        most = np.max([one.features for one in frames], axis=(0, 2, 3))
        for column, frame in enumerate(frames):
            panels[0, column].imshow(frame.image)
            panels[0, column].set_title(frame.title)
            for row in range(objects):
                _draw_object(panels[row + 1, column], frame, row, float(most[row]))
        for axes in panels.flat:
            axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=(), yticks=())
        for row in range(objects):
            panels[row + 1, 0].set_ylabel(f'object {row + 1}')
        _save(figure, path)


def _draw_object(axes: Axes, frame: CarriedFrame, row: int, most: float) -> None:
    features, mask = frame.features[row], frame.masks[row]
    rows, columns = features.shape
    extent = (-0.5, columns * frame.stride - 0.5, rows * frame.stride - 0.5, -0.5)
    axes.imshow(frame.image.mean(axis=2), cmap='gray', vmin=0, vmax=400)
    opacity = np.clip(features / max(most, 1e-12), 0, 1)
    axes.imshow(features, cmap='magma', vmin=0, vmax=most, alpha=opacity, extent=extent)
    down, right = (np.arange(count) * frame.stride + (frame.stride - 1) / 2 for count in mask.shape)
    if mask.max() >= 0.5 > mask.min():
        axes.contour(right, down, mask, [0.5], colors=COLORS[5], linewidths=1.2)
    step = -(-columns // ARROWS_ACROSS)
    chosen = np.zeros_like(mask, dtype=bool)
    chosen[::step, ::step] = mask[::step, ::step] >= 0.5
    at = np.nonzero(chosen)
    axes.quiver(
        right[at[1]],
        down[at[0]],
        frame.offsets[1][at] * frame.stride,
        frame.offsets[0][at] * frame.stride,
        angles='xy',
        scale_units='xy',
        scale=1,
        width=0.004,
        color='white',
    )


def draw_quality(found: Sequence[Quality], path: str | os.PathLike) -> None:
    """Draws the IoU of carried and of copied masks over the distance in frames."""
    distances = [one.distance for one in found]
    with matplotlib.rc_context(STYLE):
        figure = Figure((5, 3.2), dpi=120, layout='constrained')
        axes = figure.subplots()
        for name, values, color in (
            ('carried', [one.carried for one in found], COLORS[0]),
            ('left where they were', [one.copied for one in found], COLORS[1]),
        ):
            axes.plot(distances, values, marker='o', ms=4, color=color, label=name)
        axes.set(xlabel='distance in frames', ylabel='IoU with the truth', ylim=(0, 1))
        axes.set_xticks(distances)
        axes.grid(axis='y')
        axes.legend()
        _save(figure, path)


def _save(figure: Figure, path: str | os.PathLike) -> None:
    FigureCanvasAgg(figure)
    with atomic_path(path) as partial:
        figure.savefig(partial, format=Path(path).suffix[1:])
