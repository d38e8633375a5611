"""Pictures of where a place of one frame looks in another frame.

Legend: H, W the frames; h, w the map in cells; a box is (x0, y0, x1, y1) in pixels of the frame,
its end exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vispropnet.visualization.grid import BACKGROUND, MUTED
from vispropnet.visualization.sheets import MARGIN
from vispropnet.visualization.text import WHITE, draw_text, shortened

MIN_PANEL, MAX_PANEL = 480, 960
TITLE_SIZE, TEXT_SIZE, LINE = 18, 14, 22
# What is marked: a sky blue that neither the colour map nor a grey frame has.
MARK, RIM = (233, 180, 86), (20, 14, 10)
GAP, BAR_WIDTH, BAR_TEXT = 12, 16, 64
RING = 6
# The frame below the map is grey, its contrast stretched over this range, which is dark; strong
# cells cover more of it than weak ones.
FRAME_RANGE = (20, 150)
WEAKEST_OPACITY, STRONGEST_OPACITY = 0.3, 0.9

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Choice:
    """What was chosen in the current frame: exactly one of three.

    Args:
        position: (x, y) of a pixel.
        box: A box.
        mask: (H, W) bool.
    """

    position: tuple[float, float] | None = None
    box: Box | None = None
    mask: np.ndarray | None = None


def draw_attention(
    current: np.ndarray,
    reference: np.ndarray,
    values: np.ndarray,
    cell: tuple[float, float],
    choice: Choice,
    reference_box: Box | None = None,
    title: str = '',
    heads: tuple[str, str] = ('', ''),
    notes: Sequence[str] = (),
) -> np.ndarray:
    """Draws a frame with what was chosen in it beside another with a map over it.

    Small frames are enlarged by a whole factor, large ones shrunk. Cells keep their edges, so that
    the resolution of the map can be seen; colours (magma, which the colour-blind can read) go from
    0 to the map's maximum.

    Args:
        current: (H, W, 3) uint8, BGR: the frame on the left.
        reference: (H, W, 3) uint8, BGR: the frame on the right.
        values: (h, w) not negative: the map. What lies beyond the frame is not shown.
        cell: (width, height) of a cell in pixels of the frame.
        choice: Marked on the left.
        reference_box: Marked on the right.
        title: Heading.
        heads: What stands above the frames.
        notes: Lines below them.

    Returns:
        (height, width, 3) uint8, BGR.
    """
    size = _panel_size(current.shape[1], current.shape[0])
    left = cv2.resize(current, size, interpolation=_filter(current, size))
    right = _overlaid(
        cv2.resize(reference, size, interpolation=_filter(reference, size)),
        values,
        (cell[0] * size[0] / current.shape[1], cell[1] * size[1] / current.shape[0]),
    )
    factors = (size[0] / current.shape[1], size[1] / current.shape[0])
    _mark(left, choice, factors, cell)
    if reference_box is not None:
        _draw_box(right, reference_box, factors)
    width = 2 * size[0] + 2 * GAP + BAR_WIDTH + BAR_TEXT
    top = 34 + LINE
    canvas = np.full((top + size[1] + 8 + LINE * len(notes), width, 3), BACKGROUND, np.uint8)
    draw_text(canvas, shortened(title, TITLE_SIZE, width, bold=True), (0, 2), TITLE_SIZE, bold=True)
    for number, (head, panel) in enumerate(zip(heads, (left, right), strict=True)):
        x = number * (size[0] + GAP)
        draw_text(canvas, shortened(head, TEXT_SIZE, size[0]), (x, 34), TEXT_SIZE, MUTED)
        canvas[top : top + size[1], x : x + size[0]] = panel
    _draw_bar(canvas[top : top + size[1], 2 * (size[0] + GAP) :], float(values.max(initial=0)))
    for number, note in enumerate(notes):
        y = top + size[1] + 8 + number * LINE
        draw_text(canvas, shortened(note, TEXT_SIZE, width), (0, y), TEXT_SIZE, WHITE)
    return cv2.copyMakeBorder(
        canvas, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=BACKGROUND
    )


def _panel_size(width, height):
    factor = -(-MIN_PANEL // width) if width < MIN_PANEL else min(1, MAX_PANEL / width)
    return round(width * factor), max(1, round(height * factor))


def _filter(frame, size):
    return cv2.INTER_AREA if size[0] < frame.shape[1] else cv2.INTER_LINEAR


def _overlaid(frame, values, cell):
    """Puts a map over a frame; ``cell`` is in pixels of that frame."""
    # Pixels are looked up in the cell that holds their centre: exact for any ratio.
    rows = ((np.arange(frame.shape[0]) + 0.5) / cell[1]).astype(int)
    columns = ((np.arange(frame.shape[1]) + 0.5) / cell[0]).astype(int)
    rows, columns = rows.clip(max=len(values) - 1), columns.clip(max=values.shape[1] - 1)
    scaled = values / max(float(values.max(initial=0)), np.finfo(np.float32).tiny)
    scaled = scaled[np.ix_(rows, columns)]
    grey = cv2.normalize(
        cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float32),
        None,
        *FRAME_RANGE,
        cv2.NORM_MINMAX,
    )
    return _blended(grey, scaled)


def _blended(grey, scaled):
    """Puts the colours of values from 0 to 1 over grey: (H, W) each to (H, W, 3) uint8."""
    colors = cv2.applyColorMap(np.rint(scaled * 255).astype(np.uint8), cv2.COLORMAP_MAGMA)
    opacity = WEAKEST_OPACITY + (STRONGEST_OPACITY - WEAKEST_OPACITY) * scaled[..., None]
    return np.rint(grey[..., None] * (1 - opacity) + colors * opacity).astype(np.uint8)


def _mark(panel, choice, factors, cell):
    """Marks what was chosen; of a position also the cell that it lies in."""
    if choice.box is not None:
        _draw_box(panel, choice.box, factors)
    elif choice.mask is not None:
        mask = cv2.resize(
            choice.mask.astype(np.uint8), panel.shape[1::-1], interpolation=cv2.INTER_NEAREST
        )
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        for color, thickness in ((RIM, 5), (MARK, 2)):
            cv2.drawContours(panel, contours, -1, color, thickness)
    else:
        x, y = (side + 0.5 for side in choice.position)
        corner = (x // cell[0] * cell[0], y // cell[1] * cell[1])
        # Thin, so that the smallest cells stay visible inside; the ring is to be found by.
        square = (*corner, corner[0] + cell[0], corner[1] + cell[1])
        _draw_box(panel, square, factors, thickness=1)
        centre = (round(x * factors[0]), round(y * factors[1]))
        radius = round(RING + np.hypot(cell[0] * factors[0], cell[1] * factors[1]))
        for color, thickness in ((RIM, 5), (MARK, 2)):
            cv2.circle(panel, centre, radius, color, thickness, cv2.LINE_AA)


def _draw_box(panel, box, factors, thickness=2):
    start = (round(box[0] * factors[0]), round(box[1] * factors[1]))
    end = (round(box[2] * factors[0]) - 1, round(box[3] * factors[1]) - 1)
    for color, width in ((RIM, thickness + 2), (MARK, thickness)):
        cv2.rectangle(panel, start, end, color, width)


def _draw_bar(region, most):
    """Draws what the colours mean, from the map's maximum down to 0."""
    height = len(region)
    ramp = np.linspace(1, 0, height)[:, None].repeat(BAR_WIDTH, axis=1)
    region[:, :BAR_WIDTH] = _blended(np.full_like(ramp, np.mean(FRAME_RANGE)), ramp)
    draw_text(region, f'{most:.3g}', (BAR_WIDTH + 6, 0), TEXT_SIZE, WHITE)
    draw_text(region, '0', (BAR_WIDTH + 6, height - LINE + 4), TEXT_SIZE, WHITE)
