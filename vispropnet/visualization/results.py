"""Every frame of a result file with its tracks drawn on it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.fileio import atomic_path
from vispropnet.visualization.frames import read_frame
from vispropnet.visualization.labels import Labeller
from vispropnet.visualization.overlay import draw_instances
from vispropnet.visualization.shown_tracks import select_tracks, sound_entries


def draw_results(
    annotations: str | os.PathLike,
    results: str | os.PathLike,
    images: str | os.PathLike,
    out_dir: str | os.PathLike,
    score_threshold: float = 0.3,
    min_width: int = 480,
) -> tuple[int, int]:
    """Draws the tracks of a result file into one folder of pictures per video.

    Args:
        annotations: YouTube-VIS annotation file.
        results: Result file. Masks that it tells to be propagated get a dashed outline.
        images: Folder that the ``file_names`` of the videos start from.
        out_dir: Gets ``<video id>/<frame>.jpg``.
        score_threshold: Results below this score are left out.
        min_width: Smaller frames are enlarged by a whole factor to at least this width.

    Returns:
        How many tracks are drawn, and how many there are.

    Raises:
        UserError: if a file or frame is missing or does not fit.
    """
    content = read_annotation_file(annotations)
    names = {category['id']: category['name'] for category in content['categories']}
    counted = _Counted(sound_entries(results))
    source = f'result file {results}: '
    tracks = select_tracks(counted, content['videos'], score_threshold, names, source)
    for video in tqdm(content['videos'], desc='drawing', unit='video'):
        numbered = list(enumerate(tracks[video['id']], start=1))
        labeller = Labeller()
        for frame in range(len(video['file_names'])):
            shown = [(number, one) for number, one in numbered if one.rles[frame]]
            picture = draw_instances(
                read_frame(video, frame, Path(images)),
                [one.rles[frame] for _, one in shown],
                [number for number, _ in shown],
                [one.label for _, one in shown],
                [one.score for _, one in shown],
                names,
                scale=-(-min_width // video['width']),
                propagated=[one.propagated[frame] for _, one in shown],
                labeller=labeller,
            )
            with atomic_path(Path(out_dir) / str(video['id']) / f'{frame:05d}.jpg') as temporary:
                temporary.write_bytes(cv2.imencode('.jpg', picture)[1].tobytes())
    return sum(len(some) for some in tracks.values()), counted.count


class _Counted:
    """Counts what passes."""

    def __init__(self, entries: Iterable[dict[str, Any]]) -> None:
        self._entries = entries
        self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for entry in self._entries:
            self.count += 1
            yield entry
