"""Panels of one video side by side, each with its title: the frames of a video to be watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vispropnet.visualization.cells import draw_cell, fit, muted
from vispropnet.visualization.frames import read_frame
from vispropnet.visualization.labels import Labeller
from vispropnet.visualization.strips import BACKGROUND, GAP, MUTED, STRIP, Rows
from vispropnet.visualization.text import WHITE, draw_text, shortened, text_size

# Three panels of 640 pixels.
MAX_WIDTH = 3 * 640 + 2 * GAP
MIN_SIDE = 480
TITLE_SIZE, TEXT_SIZE = 18, 14
HEADER, FOOTER = 36, 28


def panel_side(video: Mapping[str, Any], panels: int) -> int:
    """Gives the longer side of a panel.

    Args:
        video: Entry of the annotation file.
        panels: How many stand side by side.

    Returns:
        Pixels: the frame's own, or a whole multiple for small frames, or what has room.
    """
    room = (MAX_WIDTH - (panels - 1) * GAP) // panels
    side = max(video['width'], video['height'])
    return min(room, side * -(-MIN_SIDE // side))


def panel_frames(
    video: Mapping[str, Any], panels: Rows, images: Path, names: Mapping[int, str]
) -> Iterator[np.ndarray]:
    """Draws a video frame by frame, with one panel for each set of tracks.

    Args:
        video: Entry of the annotation file.
        panels: Title and tracks of each.
        images: Folder that the file names start from.
        names: Categories by id.

    Yields:
        (height, width, 3) uint8, BGR, all of one size.

    Raises:
        UserError: if a frame is missing or does not fit.
    """
    side = panel_side(video, len(panels))
    width, height = fit(video['width'], video['height'], side)[1]
    canvas = _blank(video, panels, width, height)
    labellers = [Labeller() for _ in panels]
    total = len(video['file_names'])
    dashes = any(any(track.propagated) for _, tracks in panels for track in tracks)
    for frame in range(total):
        picture = muted(read_frame(video, frame, images))
        for number, ((_, tracks), labeller) in enumerate(zip(panels, labellers, strict=True)):
            x = number * (width + GAP)
            canvas[HEADER : HEADER + height, x : x + width] = draw_cell(
                picture, tracks, frame, names, side, labeller
            )
        canvas[HEADER + height :] = BACKGROUND
        notes = [f'video {video["id"]}', f'frame {frame + 1} of {total}']
        notes += ['dashes: carried over from another frame'] if dashes else []
        draw_text(canvas, '   '.join(notes), (8, HEADER + height + 5), TEXT_SIZE, MUTED)
        yield canvas.copy()


def _blank(video, panels, width, height):
    canvas = np.empty((HEADER + height + FOOTER, len(panels) * (width + GAP) - GAP, 3), np.uint8)
    canvas[:] = BACKGROUND
    for number, (title, _) in enumerate(panels):
        x = number * (width + GAP)
        canvas[:HEADER, x : x + width] = STRIP
        title = shortened(title, TITLE_SIZE, width - 16, bold=True)
        y = (HEADER - text_size(title, TITLE_SIZE, bold=True)[1]) // 2
        draw_text(canvas[:, : x + width], title, (x + 8, y), TITLE_SIZE, WHITE, bold=True)
    return canvas
