"""Pictures of a result file: all of its frames, or a contact sheet of some videos."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
from tqdm import tqdm

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.fileio import atomic_path
from vispropnet.positions import evenly
from vispropnet.visualization.frames import read_frame
from vispropnet.visualization.grid import draw_cell
from vispropnet.visualization.labels import Labeller
from vispropnet.visualization.overlay import readable_scale
from vispropnet.visualization.sheets import MAX_FRAMES, numbered_rows, write_sheet
from vispropnet.visualization.shown_tracks import number_tracks, select_tracks, sound_entries
from vispropnet.visualization.text import drawable_names


def draw_results(
    annotations: str | os.PathLike,
    results: str | os.PathLike,
    images: str | os.PathLike,
    out_dir: str | os.PathLike,
    score_threshold: float = 0.3,
) -> tuple[int, int]:
    """Draws the tracks of a result file into one folder of pictures per video.

    Args:
        annotations: Annotation file.
        results: Result file. Masks that it marks as propagated get a dashed outline.
        images: Folder that the ``file_names`` of the videos start from.
        out_dir: Gets ``<video id>/<frame>.jpg``.
        score_threshold: Results below this score are left out.

    Returns:
        How many tracks are drawn, and how many there are.

    Raises:
        UserError: if a file or frame is missing or does not fit.
    """
    content = read_annotation_file(annotations)
    names = drawable_names({one['id']: one['name'] for one in content['categories']})
    total = 0

    def counted():
        nonlocal total
        for total, entry in enumerate(sound_entries(results), start=1):  # noqa: B007
            yield entry

    source = f'result file {results}: '
    tracks = select_tracks(counted(), content['videos'], score_threshold, names, source)
    for video in tqdm(content['videos'], desc='drawing', unit='video'):
        found = tracks[video['id']]
        number_tracks(found)  # in the order of the file
        size = video['width'], video['height']
        side = max(size) * readable_scale(*size)
        labeller = Labeller()
        for frame in range(len(video['file_names'])):
            picture = read_frame(video, frame, Path(images))
            picture = draw_cell(picture, found, frame, names, side, labeller)
            with atomic_path(Path(out_dir) / str(video['id']) / f'{frame:05d}.jpg') as temporary:
                temporary.write_bytes(cv2.imencode('.jpg', picture)[1].tobytes())
    return sum(map(len, tracks.values())), total


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

    Videos are picked evenly over the file. Where it has annotations, they stand above the tracks.

    Args:
        annotations: As are the next two, of :func:`draw_results`.
        results: Result file.
        images: Folder of the frames.
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
    names = drawable_names({one['id']: one['name'] for one in content['categories']})
    shown = [content['videos'][index] for index in evenly(len(content['videos']), videos)]
    source = f'result file {results}: '
    tracks = select_tracks(sound_entries(results), shown, score_threshold, names, source)
    rows = [(one, numbered_rows(content, one, [('ours', tracks[one['id']])])) for one in shown]
    write_sheet(out, 'Tracks over time', rows, Path(images), names, frames, score_threshold)
    return Path(out)
