"""Strips of frames: one video, one row for each set of tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vispropnet.text import counted
from vispropnet.visualization.cells import draw_cell, fit, muted
from vispropnet.visualization.frames import read_frame
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.shown_tracks import ShownTrack
from vispropnet.visualization.text import WHITE, draw_text, text_size

MIN_WIDTH, MAX_WIDTH = 640, 2400
MAX_FRAMES = MAX_WIDTH // 64
MIN_CELL_WIDTH = 240
MARGIN, GAP = 20, 6
BACKGROUND, STRIP, MUTED = (30, 25, 22), (58, 48, 42), (178, 168, 160)
TITLE_SIZE, TEXT_SIZE, CAPTION_SIZE = 20, 14, 12

Rows = Sequence[tuple[str, Sequence[ShownTrack]]]


def evenly(total: int, count: int) -> list[int]:
    """Picks ``count`` of ``total`` positions, first and last among them."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist()


def side_width(names: Sequence[str]) -> int:
    """Gives the room that the names of rows take beside the frames, in pixels."""
    return max(text_size(name, TEXT_SIZE)[0] for name in names) + 14


def cell_width(videos: Sequence[Mapping[str, Any]], columns: int, side: int) -> int:
    """Gives the side of a cell, so that small frames are enlarged and the strip is not too wide.

    Args:
        videos: Entries of the annotation file.
        columns: Frames in a row.
        side: Room beside the frames.

    Returns:
        Pixels.
    """
    room = (MAX_WIDTH - 2 * MARGIN - side - (columns - 1) * GAP) // columns
    sides = [max(video['width'], video['height']) for video in videos]
    return min(room, max(side * -(-MIN_CELL_WIDTH // side) for side in sides))


def draw_strip(
    video: Mapping[str, Any],
    rows: Rows,
    images: Path,
    names: Mapping[int, str],
    columns: int,
    cell: int,
    side: int,
) -> np.ndarray:
    """Draws one video: a header, frame numbers, and one row of frames for each set of tracks.

    Args:
        video: Entry of the annotation file.
        rows: Name and tracks of each row.
        images: Folder that the file names start from.
        names: Categories by id.
        columns: Frames to show, at most; they are picked evenly.
        cell: Side of a cell.
        side: Room for the names of the rows.

    Returns:
        (height, width, 3) uint8.

    Raises:
        UserError: if a frame is missing or does not fit.
    """
    chosen = evenly(len(video['file_names']), columns)
    pictures = [muted(read_frame(video, frame, images)) for frame in chosen]
    _, size = fit(video['width'], video['height'], cell)
    width = max(side + columns * (cell + GAP) - GAP, MIN_WIDTH)
    lefts = [side + column * (cell + GAP) + (cell - size[0]) // 2 for column in range(len(chosen))]
    captions = np.full((20, width, 3), BACKGROUND, np.uint8)
    for x, frame in zip(lefts, chosen, strict=True):
        draw_text(captions, f'frame {frame}', (x, 4), CAPTION_SIZE, MUTED)

    parts = [_header(video, width), captions]
    for name, tracks in rows:
        strip = np.full((size[1] + GAP, width, 3), BACKGROUND, np.uint8)
        draw_text(strip, name, (0, (size[1] - text_size(name, TEXT_SIZE)[1]) // 2), TEXT_SIZE)
        for x, frame, picture in zip(lefts, chosen, pictures, strict=True):
            drawn = draw_cell(picture, tracks, frame, names, cell)
            strip[: size[1], x : x + size[0]] = drawn
        parts.append(strip)
    parts.append(np.full((12, width, 3), BACKGROUND, np.uint8))
    return np.concatenate(parts)


def draw_legend(title: str, width: int, notes: Sequence[str]) -> np.ndarray:
    """Draws a heading and what the marks mean; lines are wrapped to the width.

    Args:
        title: The heading.
        width: Of the picture.
        notes: What to say beside the colours.

    Returns:
        (height, width, 3) uint8.
    """
    squares = 8 * (text_size('#8', TEXT_SIZE)[0] + 32)
    places, x, y = [], squares + 8, 36
    for note in notes:
        length = text_size(note, TEXT_SIZE)[0]
        if x and x + length > width:
            x, y = 0, y + 24
        places.append((note, (x, y)))
        x += length + 44
    canvas = np.full((y + 34, width, 3), BACKGROUND, np.uint8)
    draw_text(canvas, title, (0, 2), TITLE_SIZE, WHITE, bold=True)
    for number in range(1, 9):
        x = (number - 1) * squares // 8
        cv2.rectangle(canvas, (x, 38), (x + 13, 51), track_color(number), cv2.FILLED)
        draw_text(canvas, f'#{number}', (x + 18, 36), TEXT_SIZE, MUTED)
    for note, place in places:
        draw_text(canvas, note, place, TEXT_SIZE, MUTED)
    return canvas


def framed(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Puts parts of one width below each other, with a margin around."""
    sheet = np.concatenate(parts)
    return cv2.copyMakeBorder(sheet, 14, 0, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=BACKGROUND)


def facts_of(video: Mapping[str, Any]) -> str:
    """Tells folder, length and size of a video."""
    folder = Path(video['file_names'][0]).parent.name
    frames = counted(len(video['file_names']), 'frame')
    facts = f'{frames}, {video["width"]} × {video["height"]}'
    return f'{folder}    {facts}' if folder else facts


def _header(video, width):
    header = np.full((30, width, 3), STRIP, np.uint8)
    x = 10 + draw_text(header, f'video {video["id"]}', (10, 7), TEXT_SIZE, WHITE, bold=True)[0]
    draw_text(header, facts_of(video), (x + 14, 7), TEXT_SIZE, MUTED)
    return header
