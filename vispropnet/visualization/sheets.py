"""Sheets of videos: for each a row of frames with the truth, and one with each result.

Videos are ``(entry of the annotation file, rows)``; a row is a title and its tracks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vispropnet.fileio import atomic_path
from vispropnet.positions import evenly
from vispropnet.text import counted
from vispropnet.visualization.frames import read_frame
from vispropnet.visualization.grid import (
    GAP,
    MUTED,
    TEXT_SIZE,
    blank,
    cell_side,
    draw_bar,
    draw_cell,
    draw_grid,
    muted,
)
from vispropnet.visualization.labels import Labeller
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.shown_tracks import (
    SAME_OBJECT_IOU,
    ShownTrack,
    number_tracks,
    true_tracks,
)
from vispropnet.visualization.text import WHITE, draw_text, shortened, text_size

MIN_WIDTH, MAX_WIDTH = 640, 2400
MAX_FRAMES = MAX_WIDTH // 64
MIN_CELL, MIN_PANEL = 240, 480
MAX_PANELS = 3 * 640 + 2 * GAP
MARGIN = 20
MAX_NAME = 180
TITLE_SIZE = 20
TRUTH = 'ground truth'
DASHES = 'dashes: mask carried over from another frame'

Rows = Sequence[tuple[str, Sequence[ShownTrack]]]


def numbered_rows(content: Mapping[str, Any], video: Mapping[str, Any], results: Rows) -> Rows:
    """Gives the rows of a video, the truth first if it is known, an object's number in all alike.

    Args:
        content: Annotation file.
        video: One of its videos.
        results: Title and tracks of each result; tracks are numbered by falling score.

    Raises:
        UserError: naming the annotation that does not fit the video.
    """
    rows = [(title, sorted(some, key=lambda one: -one.score)) for title, some in results]
    known = content.get('annotations') is not None
    truth = true_tracks(content, video) if known else []
    number_tracks(truth, *(tracks for _, tracks in rows))
    return [(TRUTH, truth), *rows] if known else rows


def write_sheet(
    path: str | os.PathLike,
    title: str,
    videos: Sequence[tuple[Mapping[str, Any], Rows]],
    images: Path,
    names: Mapping[int, str],
    frames: int,
    threshold: float,
) -> None:
    """Draws frames of videos below each other and writes the picture as PNG.

    Args:
        path: The picture.
        title: Its heading.
        videos: Videos whose rows have the same titles.
        images: Folder that the file names start from.
        names: Categories by id.
        frames: Frames of a video, at most, picked evenly; only those are read.
        threshold: Score that the tracks have at least, for the legend.

    Raises:
        UserError: if a frame is missing or does not fit.
    """
    rows = [shortened(name, TEXT_SIZE, MAX_NAME) for name, _ in videos[0][1]]
    left = max(text_size(name, TEXT_SIZE)[0] for name in rows) + 14
    columns = min(frames, max(len(video['file_names']) for video, _ in videos))
    room = MAX_WIDTH - 2 * MARGIN - left
    cell = cell_side([video for video, _ in videos], MIN_CELL, columns, room)
    width = max(left + columns * (cell + GAP) - GAP, MIN_WIDTH)

    shown = [track for _, rows in videos for _, tracks in rows for track in tracks]
    notes = [
        'one colour and number per object of a video; the frames themselves are muted',
        f'results: tracks scoring {threshold:.2f} or more, as #track category score',
    ]
    if rows[0] == TRUTH:
        notes.append(f'a track with IoU ≥ {SAME_OBJECT_IOU} to a true one takes its colour')
    if any(any(track.propagated) for track in shown):
        notes.append(f'white {DASHES}')
    parts = [_legend(title, width, notes)]
    for video, tracks in videos:
        chosen = evenly(len(video['file_names']), columns)
        pictures = [muted(read_frame(video, frame, images)) for frame in chosen]
        shots = list(zip(pictures, chosen, strict=True))
        cells = [
            [draw_cell(picture, some, frame, names, cell) for picture, frame in shots]
            for _, some in tracks
        ]
        captions = [f'frame {frame}' for frame in chosen]
        parts.append(draw_bar(width, f'video {video["id"]}', _facts_of(video)))
        parts += [draw_grid(cells, captions, cell, rows, left), blank(18, width)]
    sheet, y = blank(sum(map(len, parts)), width + 2 * MARGIN), 0
    for part in parts:
        sheet[y : y + len(part), MARGIN : MARGIN + part.shape[1]] = part
        y += len(part)
    with atomic_path(path) as temporary:
        temporary.write_bytes(cv2.imencode('.png', sheet)[1].tobytes())


def panel_frames(
    video: Mapping[str, Any], rows: Rows, images: Path, names: Mapping[int, str]
) -> Iterator[np.ndarray]:
    """Draws a video frame by frame, with one panel for each row, side by side.

    Yields:
        (height, width, 3) uint8, BGR, all of one size.

    Raises:
        UserError: if a frame is missing or does not fit.
    """
    side = cell_side([video], MIN_PANEL, len(rows), MAX_PANELS)
    labellers = [Labeller() for _ in rows]
    total = len(video['file_names'])
    dashes = any(any(track.propagated) for _, tracks in rows for track in tracks)
    for frame in range(total):
        picture = muted(read_frame(video, frame, images))
        cells = [
            draw_cell(picture, tracks, frame, names, side, labeller)
            for (_, tracks), labeller in zip(rows, labellers, strict=True)
        ]
        grid = draw_grid([cells], [title for title, _ in rows], cells[0].shape[1])
        notes = f'frame {frame + 1} of {total}' + (f'   {DASHES}' if dashes else '')
        yield np.concatenate([draw_bar(grid.shape[1], f'video {video["id"]}', notes), grid])


def _facts_of(video):
    folder = Path(video['file_names'][0]).parent.name
    frames = counted(len(video['file_names']), 'frame')
    facts = f'{frames}, {video["width"]} × {video["height"]}'
    return f'{folder}    {facts}' if folder else facts


def _legend(title, width, notes):
    """Draws a heading, the first colours, and lines of notes."""
    canvas = blank(78 + 22 * len(notes), width)
    draw_text(canvas, title, (0, 16), TITLE_SIZE, WHITE, bold=True)
    step = text_size('#8', TEXT_SIZE)[0] + 32
    for number in range(1, 9):
        x = (number - 1) * step
        cv2.rectangle(canvas, (x, 52), (x + 13, 65), track_color(number), cv2.FILLED)
        draw_text(canvas, f'#{number}', (x + 18, 50), TEXT_SIZE, MUTED)
    for number, note in enumerate(notes):
        draw_text(canvas, note, (0, 72 + 22 * number), TEXT_SIZE, MUTED)
    return canvas
