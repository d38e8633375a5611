"""Pictures of the positions in other frames that the cells of a box look at.

Legend: H, W the frames; h, w the cells of a box; S other frames; K positions in each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vispropnet.visualization.grid import blank, draw_bar, draw_grid, muted
from vispropnet.visualization.text import WHITE

SIDE = 360  # of a frame, in pixels of the picture, about
COLUMNS = 4
# Blue, green and red of the cells in the corners, as Okabe and Ito name them; those between are
# mixed. Two rows of two.
CORNERS = np.array([[(233, 180, 86), (0, 159, 230)], [(115, 158, 0), (167, 121, 204)]], np.float32)
RIM = (20, 14, 10)
# Subpixel bits of OpenCV's coordinates.
SHIFT = 4
NOTES = 'a colour for each cell, the same everywhere; large: the most similar, small: the others'


def draw_support(
    current: np.ndarray,
    others: Sequence[np.ndarray],
    box: Sequence[float],
    places: np.ndarray,
    spacing: tuple[float, float],
    title: str,
    captions: Sequence[str],
) -> np.ndarray:
    """Draws a frame with the cells of a box, and other frames with a dot for each place looked at.

    The dots of a position stand side by side, in the layout of their cells in the box, so that
    those of several cells at one position can be told apart.

    Args:
        current: (H, W, 3) uint8, BGR: the frame of the box.
        others: S times the same.
        box: x1, y1, x2, y2 in pixels of the frame.
        places: (S, h, w, K, 2) x and y in pixels of the frame, the most similar first.
        spacing: Pixels of the frame from one position to the next, across and down.
        title: Heading.
        captions: Of the frame and of the others.

    Returns:
        (height, width, 3) uint8, BGR.
    """
    scale = SIDE / max(current.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in current.shape[1::-1])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    pictures = [cv2.resize(muted(one), size, interpolation=way) for one in (current, *others)]
    rows, columns = places.shape[1:3]
    colors = cell_colors(rows, columns)
    radius = 0.3 * scale * min(spacing[0] / columns, spacing[1] / rows)
    _draw_box(pictures[0], np.multiply(box, scale), colors)
    for picture, found in zip(pictures[1:], places, strict=True):
        spread = _spread(found, spacing) * scale
        for rank in reversed(range(found.shape[2])):
            shrunk = 1.0 if rank == 0 else 0.5
            _draw_dots(picture, spread[:, :, rank], colors, max(1.5, radius) * shrunk)
    return _in_rows(pictures, captions, title)


def cell_colors(rows: int, columns: int) -> np.ndarray:
    """Colours of the cells of a box, mixed from those of its corners: (rows, columns, 3) uint8."""
    across, down = (np.linspace(0, 1, count) for count in (columns, rows))
    sides = CORNERS[:, :1] + (CORNERS[:, 1:] - CORNERS[:, :1]) * across[None, :, None]
    mixed = sides[:1] + (sides[1:] - sides[:1]) * down[:, None, None]
    return mixed.round().astype(np.uint8)


def _in_rows(pictures: list[np.ndarray], captions: Sequence[str], title: str) -> np.ndarray:
    height, width = pictures[0].shape[:2]
    columns, parts = min(COLUMNS, len(pictures)), []
    for first in range(0, len(pictures), columns):
        row, names = pictures[first : first + columns], list(captions[first : first + columns])
        missing = columns - len(row)
        row += [blank(height, width)] * missing
        parts.append(draw_grid([row], names + [''] * missing, width))
    return np.concatenate([draw_bar(parts[0].shape[1], title, NOTES), *parts])


def _spread(places: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Moves the places (h, w, K, 2) of each cell to its own part of the position."""
    rows, columns = places.shape[:2]
    across = (np.arange(columns) + 0.5) / columns - 0.5
    down = (np.arange(rows) + 0.5) / rows - 0.5
    offsets = np.stack(np.meshgrid(across, down), axis=-1) * spacing
    return places + offsets[:, :, None]


def _draw_box(picture: np.ndarray, box: np.ndarray, colors: np.ndarray) -> None:
    """Draws a box, with a dot in the middle of each cell."""
    (x1, y1, x2, y2), (rows, columns) = box, colors.shape[:2]
    across = x1 + (np.arange(columns) + 0.5) * (x2 - x1) / columns
    down = y1 + (np.arange(rows) + 0.5) * (y2 - y1) / rows
    centres = np.stack(np.meshgrid(across, down), axis=-1)
    cv2.rectangle(picture, *_points(np.array([[x1, y1], [x2, y2]])), WHITE, 1, cv2.LINE_AA, SHIFT)
    radius = 0.35 * min((x2 - x1) / columns, (y2 - y1) / rows)
    _draw_dots(picture, centres, colors, max(1.5, radius))


def _draw_dots(picture: np.ndarray, centres: np.ndarray, colors: np.ndarray, radius: float) -> None:
    points, tints = _points(centres.reshape(-1, 2)), colors.reshape(-1, 3).tolist()
    # First all rims, so that none lies over a dot beside it.
    rimmed = radius + min(1.0, 0.4 * radius)
    for size, inks in ((rimmed, [RIM] * len(tints)), (radius, tints)):
        for point, ink in zip(points, inks, strict=True):
            cv2.circle(picture, point, round(size * 2**SHIFT), ink, -1, cv2.LINE_AA, SHIFT)


def _points(places: np.ndarray) -> list[tuple[int, int]]:
    """Integer points of OpenCV from (N, 2) x and y, of which whole numbers are edges of pixels."""
    return [tuple(point) for point in ((places - 0.5) * 2**SHIFT).round().astype(int).tolist()]
