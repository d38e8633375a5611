"""Contact sheets: many videos of a result file on one picture, each as a row of frames."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path
from vispropnet.visualization.shown_tracks import (
    SAME_OBJECT_IOU,
    number_tracks,
    select_tracks,
    sound_entries,
    true_tracks,
)
from vispropnet.visualization.strips import (
    MAX_FRAMES,
    cell_width,
    draw_legend,
    draw_strip,
    evenly,
    framed,
    side_width,
)


def contact_sheet(
    annotations: str | os.PathLike | dict[str, Any],
    results: str | os.PathLike | list[dict[str, Any]],
    images: str | os.PathLike,
    out: str | os.PathLike,
    videos: int = 8,
    frames: int = 6,
    score_threshold: float = 0.3,
    show_truth: bool = True,
    result_name: str = 'ours',
    title: str = 'Tracks over time',
) -> Path:
    """Draws frames of several videos with their tracks on one picture and writes it as PNG.

    Videos are picked evenly over the file, frames evenly over each video; only those frames are
    read. Tracks of a video are numbered by falling score. With truth shown, a result whose whole
    track has an IoU of at least 0.5 with a true one takes that one's number and colour.

    Args:
        annotations: YouTube-VIS annotation file, or its parsed content.
        results: Result file, or its parsed content. A track may carry ``propagated``, one bool per
            frame: those masks get a dashed outline.
        images: Folder that the ``file_names`` of the videos start from.
        out: The picture to write.
        videos: Videos to show, at most.
        frames: Frames to show of each video, at most.
        score_threshold: Results below this score are left out.
        show_truth: Adds a row with the ground truth above each video's results; without effect
            where the file has no annotations.
        result_name: What to call the rows of results.
        title: Heading of the picture.

    Returns:
        The path written.

    Raises:
        UserError: if a file or frame is missing or does not fit, naming file, video and frame.
        ValueError: if ``videos`` or ``frames`` is not positive or ``frames`` leaves no room.
    """
    content = annotations if isinstance(annotations, dict) else read_annotation_file(annotations)
    if videos < 1 or not 1 <= frames <= MAX_FRAMES:
        raise ValueError(
            f'videos and frames (at most {MAX_FRAMES}) must be positive: {videos}, {frames}'
        )
    if not content['videos']:
        raise UserError('the annotation file has no videos to show.')
    names = {category['id']: category['name'] for category in content['categories']}
    shown = [content['videos'][index] for index in evenly(len(content['videos']), videos)]
    parsed = isinstance(results, list)
    entries = results if parsed else sound_entries(results)
    source = '' if parsed else f'result file {results}: '
    found = select_tracks(entries, shown, score_threshold, names, source)
    with_truth = show_truth and content.get('annotations') is not None
    side = side_width(['truth', result_name])
    columns = min(frames, max(len(video['file_names']) for video in shown))
    cell = cell_width(shown, columns, side)

    blocks, dashes = [], False
    for video in shown:
        ours = sorted(found[video['id']], key=lambda track: -track.score)
        truth = true_tracks(content, video) if with_truth else []
        number_tracks(truth, ours)
        rows = [('truth', truth), (result_name, ours)] if with_truth else [(result_name, ours)]
        dashes |= any(any(track.propagated) for track in ours)
        blocks.append(draw_strip(video, rows, Path(images), names, columns, cell, side))
    notes = [
        'one colour and number per track of a video; the frames themselves are muted',
        f'{result_name}: tracks scoring {score_threshold:.2f} or more, as #track category score',
    ]
    if with_truth:
        notes.append(f'a track with IoU ≥ {SAME_OBJECT_IOU} to a true one takes its colour')
    if dashes:
        notes.append('white dashes: mask carried over from another frame')
    sheet = framed([draw_legend(title, blocks[0].shape[1], notes), *blocks])
    with atomic_path(out) as temporary:
        temporary.write_bytes(cv2.imencode('.png', sheet)[1].tobytes())
    return Path(out)
