"""Every frame of a result file with its tracks drawn on it."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
from tqdm import tqdm

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.fileio import atomic_path
from vispropnet.visualization.frames import read_frame
from vispropnet.visualization.grid import draw_cell
from vispropnet.visualization.labels import Labeller
from vispropnet.visualization.shown_tracks import number_tracks, select_tracks, sound_entries

# Smaller frames are enlarged by a whole factor to at least this width.
MIN_WIDTH = 480


def draw_results(
    annotations: str | os.PathLike,
    results: str | os.PathLike,
    images: str | os.PathLike,
    out_dir: str | os.PathLike,
    score_threshold: float = 0.3,
) -> tuple[int, int]:
    """Draws the tracks of a result file into one folder of pictures per video.

    Args:
        annotations: YouTube-VIS annotation file.
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
    names = {category['id']: category['name'] for category in content['categories']}
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
        side = max(video['width'], video['height']) * -(-MIN_WIDTH // video['width'])
        labeller = Labeller()
        for frame in range(len(video['file_names'])):
            picture = read_frame(video, frame, Path(images))
            picture = draw_cell(picture, found, frame, names, side, labeller)
            with atomic_path(Path(out_dir) / str(video['id']) / f'{frame:05d}.jpg') as temporary:
                temporary.write_bytes(cv2.imencode('.jpg', picture)[1].tobytes())
    return sum(map(len, tracks.values())), total
