"""Contact sheets: many videos of a result file on one picture, each as a row of frames."""

from __future__ import annotations

import os
from pathlib import Path

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.visualization.grid import evenly
from vispropnet.visualization.sheets import MAX_FRAMES, numbered_rows, write_sheet
from vispropnet.visualization.shown_tracks import select_tracks, sound_entries


def contact_sheet(
    annotations: str | os.PathLike,
    results: str | os.PathLike,
    images: str | os.PathLike,
    out: str | os.PathLike,
    videos: int = 8,
    frames: int = 6,
    score_threshold: float = 0.3,
) -> Path:
    """Draws frames of several videos with their tracks on one picture and writes it as PNG.

    Videos are picked evenly over the file, frames evenly over each video; only those frames are
    read. Tracks of a video are numbered by falling score. Where the file has annotations, they
    stand above, and a result whose whole track has an IoU of at least 0.5 with a true one takes
    that one's number and colour.

    Args:
        annotations: YouTube-VIS annotation file.
        results: Result file. A track may carry ``propagated``, one bool per frame: those masks get
            a dashed outline.
        images: Folder that the ``file_names`` of the videos start from.
        out: The picture to write.
        videos: Videos to show, at most.
        frames: Frames to show of each video, at most.
        score_threshold: Results below this score are left out.

    Returns:
        The path written.

    Raises:
        UserError: if a file or frame is missing or does not fit, naming file, video and frame.
        ValueError: if ``videos`` or ``frames`` is not positive or ``frames`` leaves no room.
    """
    if videos < 1 or not 1 <= frames <= MAX_FRAMES:
        raise ValueError(
            f'videos and frames (at most {MAX_FRAMES}) must be positive: {videos}, {frames}'
        )
    content = read_annotation_file(annotations)
    names = {category['id']: category['name'] for category in content['categories']}
    shown = [content['videos'][index] for index in evenly(len(content['videos']), videos)]
    source = f'result file {results}: '
    tracks = select_tracks(sound_entries(results), shown, score_threshold, names, source)
    rows = [(one, numbered_rows(content, one, [('ours', tracks[one['id']])])) for one in shown]
    write_sheet(out, 'Tracks over time', rows, Path(images), names, frames, score_threshold)
    return Path(out)
