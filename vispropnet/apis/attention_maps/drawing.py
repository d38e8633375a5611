"""Pictures of the place in one frame that looks at another, beside what it looks at.

Legend: H, W the frames; h, w the map in cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke

from vispropnet.apis.attention_maps.recording import Box, Place
from vispropnet.visualization.text import shortened

DPI = 100
MIN_PANEL, MAX_PANEL = 480, 960
# What is marked: a sky blue that neither the colour map nor a grey frame has.
MARK, RIM = '#56b4e9', withStroke(linewidth=4, foreground='#0a0e14')
# Strong cells cover more of the frame below, which is grey and dark, than weak ones.
FRAME_RANGE = (20, 150)
WEAKEST_OPACITY, STRONGEST_OPACITY = 0.3, 0.9
STYLE = {
    'axes.titlelocation': 'left',
    'axes.titlesize': 10,
    'contour.linewidth': 1.5,
    'figure.facecolor': '#16191e',
    'lines.linewidth': 1.5,
    'patch.linewidth': 1.5,
    'text.color': 'white',
    'text.parse_math': False,
    'ytick.color': 'white',
}


def draw_attention(*arguments: Any, **options: Any) -> np.ndarray:
    """Draws :func:`attention_figure` of these arguments, as (height, width, 3) uint8, BGR."""
    with matplotlib.rc_context(STYLE):
        canvas = FigureCanvasAgg(attention_figure(*arguments, **options))
        canvas.draw()
    return cv2.cvtColor(np.asarray(canvas.buffer_rgba()), cv2.COLOR_RGBA2BGR)


def attention_figure(
    current: np.ndarray,
    reference: np.ndarray,
    values: np.ndarray,
    cell: tuple[float, float],
    place: Place,
    reference_box: Box | None = None,
    title: str = '',
    heads: tuple[str, str] = ('', ''),
    notes: Sequence[str] = (),
) -> Figure:
    """Shows a frame with the chosen place beside another with a map over it, and a colour bar.

    Cells keep their edges, so that the resolution of the map can be seen; colours (magma, which the
    colour-blind can read) go from 0 to the map's maximum.

    Args:
        current: (H, W, 3) uint8, BGR: the frame on the left.
        reference: (H, W, 3) uint8, BGR: the frame on the right.
        values: (h, w) not negative: the map. What lies beyond the frame is not shown.
        cell: (width, height) of a cell in pixels of the frame.
        place: Marked on the left: a pixel with its cell, or a mask.
        reference_box: Marked on the right.
        title: Heading.
        heads: Titles of the frames.
        notes: Lines below them.
    """
    height, width = current.shape[:2]
    panel = min(max(width, MIN_PANEL), MAX_PANEL)
    size = 2 * panel + 130, round(panel * height / width) + 70 + 18 * len(notes)
    figure = Figure(np.divide(size, DPI), dpi=DPI, layout='constrained')
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    title = shortened(title, 18, size[0], bold=True)
    figure.suptitle(title, x=0.01, ha='left', weight='bold')
    left, right = figure.subplots(1, 2)
    left.imshow(cv2.cvtColor(current, cv2.COLOR_BGR2RGB), interpolation='nearest')
    scale = _draw_map(right, reference, values, cell)
    _mark(left, place, cell)
    if reference_box is not None:
        _mark_box(right, reference_box)
    for axes, head in zip((left, right), heads, strict=True):
        axes.set_axis_off()
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        axes.set_title(shortened(head, 14, panel))
    figure.colorbar(scale, ax=right, fraction=0.04, pad=0.02)
    lines = [shortened(note, 14, size[0]) for note in notes]
    figure.supxlabel('\n'.join(lines), x=0.01, ha='left', fontsize=10)
    return figure


def _draw_map(
    axes: Axes, frame: np.ndarray, values: np.ndarray, cell: tuple[float, float]
) -> ScalarMappable:
    """Draws a map over a frame, and returns what its colours mean."""
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float32)
    grey = cv2.normalize(grey, None, *FRAME_RANGE, cv2.NORM_MINMAX)
    axes.imshow(grey, cmap='gray', vmin=0, vmax=255, interpolation='nearest')
    most = float(values.max(initial=0)) or 1.0
    opacity = WEAKEST_OPACITY + (STRONGEST_OPACITY - WEAKEST_OPACITY) * values / most
    (rows, columns), (width, height) = values.shape, cell
    scale = ScalarMappable(matplotlib.colors.Normalize(0, most), 'magma')
    axes.imshow(
        values,
        cmap=scale.cmap,
        norm=scale.norm,
        alpha=opacity,
        extent=(-0.5, columns * width - 0.5, rows * height - 0.5, -0.5),
        interpolation='nearest',
    )
    return scale


def _mark(axes: Axes, place: Place, cell: tuple[float, float]) -> None:
    if isinstance(place, np.ndarray):
        across, down = (np.arange(-1, side + 1) for side in place.shape[::-1])
        outline = axes.contour(across, down, np.pad(place, 1), [0.5], colors=MARK)
        outline.set(path_effects=[RIM])
        return
    x, y = (int((side + 0.5) // length) for side, length in zip(place, cell, strict=True))
    _mark_box(axes, (x * cell[0], y * cell[1], (x + 1) * cell[0], (y + 1) * cell[1]))
    ring = Circle(place, 1.5 * max(cell), fill=False, edgecolor=MARK)  # to be found by
    axes.add_patch(ring).set(path_effects=[RIM])


def _mark_box(axes: Axes, box: Box) -> None:
    x0, y0, x1, y1 = box
    frame = Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=MARK)
    axes.add_patch(frame).set(path_effects=[RIM])
