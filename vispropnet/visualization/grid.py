"""One grid of frames with their tracks: rows and columns of pictures, captions and names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.visualization.labels import Labeller
from vispropnet.visualization.overlay import draw_instances
from vispropnet.visualization.shown_tracks import ShownTrack
from vispropnet.visualization.text import WHITE, draw_text, shortened, text_size

FRAME_MUTING = 0.7  # so that strong colour means a track
GAP = 6
BACKGROUND, STRIP, MUTED = (30, 25, 22), (58, 48, 42), (178, 168, 160)
TEXT_SIZE = 14
CAPTION, BAR = 22, 30  # heights


def cell_side(videos: Iterable[Mapping[str, Any]], smallest: int, columns: int, room: int) -> int:
    """Gives the side, in pixels, of the cells of a grid of frames.

    Args:
        videos: Entries of the annotation file whose frames are to be shown.
        smallest: Smaller frames are enlarged by a whole factor to at least this many pixels.
        columns: Cells beside each other.
        room: Pixels that they may take.
    """
    sides = [max(video['width'], video['height']) for video in videos]
    return min((room + GAP) // columns - GAP, max(side * -(-smallest // side) for side in sides))


def muted(picture: np.ndarray) -> np.ndarray:
    """Gives a frame with little of its own colour: (H, W, 3) uint8."""
    gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(picture, 1 - FRAME_MUTING, gray, FRAME_MUTING, 0)


def draw_cell(
    picture: np.ndarray,
    tracks: Sequence[ShownTrack],
    frame: int,
    names: Mapping[int, str],
    side: int,
    labeller: Labeller | None = None,
) -> np.ndarray:
    """Draws the tracks of one frame.

    Args:
        picture: (H, W, 3) uint8, the frame, BGR.
        tracks: Of the video.
        frame: Position in the video.
        names: Categories by id.
        side: Width or height of the cell, in pixels, whichever the frame fills.
        labeller: As in :func:`~vispropnet.visualization.overlay.draw_instances`.

    Returns:
        (h, w, 3) uint8, enlarged by a whole factor, or shrunk.
    """
    longest = max(picture.shape[:2])
    scale = side // longest
    present = [track for track in tracks if track.rles[frame]]
    masks = [track.rles[frame] for track in present]
    if not scale:
        size = tuple(max(1, round(one * (side / longest))) for one in picture.shape[1::-1])
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        masks = [_shrunk(mask, size) for mask in masks]
    scores = [track.score for track in present]
    return draw_instances(
        picture,
        masks,
        [track.number for track in present],
        [track.label for track in present],
        None if None in scores else scores,
        names,
        scale=max(1, scale),
        propagated=[track.propagated[frame] for track in present],
        labeller=labeller,
    )


def draw_grid(
    rows: Sequence[Sequence[np.ndarray]],
    captions: Sequence[str],
    cell: int,
    names: Sequence[str] = (),
    left: int = 0,
) -> np.ndarray:
    """Draws rows of pictures, captions above the columns and names before the rows.

    Args:
        rows: Pictures of each row, (h, w, 3) uint8, all of one size.
        captions: One for each column; cut to its width.
        cell: Width of a column, which pictures are in the middle of.
        names: One for each row.
        left: Pixels for the names.

    Returns:
        (height, width, 3) uint8, BGR.
    """
    height, width = rows[0][0].shape[:2]
    below = [CAPTION + row * (height + GAP) for row in range(len(rows))]
    columns = [left + c * (cell + GAP) + (cell - width) // 2 for c in range(len(captions))]
    canvas = blank(below[-1] + height, left + len(captions) * (cell + GAP) - GAP)
    for column, (x, caption) in enumerate(zip(columns, captions, strict=True)):
        draw_text(canvas, shortened(caption, TEXT_SIZE, width - 4), (x + 4, 2), TEXT_SIZE)
        for y, pictures in zip(below, rows, strict=True):
            canvas[y : y + height, x : x + width] = pictures[column]
    for y, name in zip(below, names, strict=False):
        draw_text(canvas, name, (0, y + (height - text_size(name, TEXT_SIZE)[1]) // 2), TEXT_SIZE)
    return canvas


def draw_bar(width: int, title: str, notes: str) -> np.ndarray:
    """Draws the bar above a grid: a title and, weaker, notes; (height, width, 3) uint8."""
    bar = blank(BAR, width, STRIP)
    x = 10 + draw_text(bar, title, (10, 7), TEXT_SIZE, WHITE, bold=True)[0]
    draw_text(bar, notes, (x + 14, 7), TEXT_SIZE, MUTED)
    return bar


def blank(height: int, width: int, color: tuple[int, int, int] = BACKGROUND) -> np.ndarray:
    """Makes a picture of one colour: (height, width, 3) uint8."""
    return np.full((height, width, 3), color, np.uint8)


def _shrunk(rle, size):
    """Shrinks a mask, but not to nothing."""
    mask = mask_utils.decode(rle).astype(np.float32)
    share = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return mask_utils.encode(np.asfortranarray(share >= min(0.5, share.max()), np.uint8))
