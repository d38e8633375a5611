"""Every frame of a result file with its tracks drawn on it."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.rle import checked_rles
from vispropnet.evaluation.result_file import read_results
from vispropnet.fileio import atomic_path
from vispropnet.visualization.contact_sheet import propagated_frames, read_frame
from vispropnet.visualization.overlay import draw_instances


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
    tracks = defaultdict(list)
    found = read_results(results)
    for track in found:
        if track['score'] >= score_threshold:
            tracks[track['video_id']].append(track)
    for video in tqdm(content['videos'], desc='drawing', unit='video'):
        numbered = list(enumerate(tracks[video['id']], start=1))
        for number, track in numbered:
            where = f'result file {results}: video {video["id"]}, track {number}'
            track['segmentations'] = checked_rles(track['segmentations'], video, where)
            track['propagated'] = propagated_frames(track, video, where)
        for frame in range(len(video['file_names'])):
            picture = read_frame(video, frame, Path(images))
            shown = [(number, one) for number, one in numbered if one['segmentations'][frame]]
            masks = [mask_utils.decode(one['segmentations'][frame]) for _, one in shown]
            picture = draw_instances(
                picture,
                np.array(masks, dtype=bool).reshape(len(masks), *picture.shape[:2]),
                [number for number, _ in shown],
                [one['category_id'] for _, one in shown],
                [one['score'] for _, one in shown],
                names,
                scale=-(-min_width // video['width']),
                propagated=[one['propagated'][frame] for _, one in shown],
            )
            with atomic_path(Path(out_dir) / str(video['id']) / f'{frame:05d}.jpg') as temporary:
                temporary.write_bytes(cv2.imencode('.jpg', picture)[1].tobytes())
    return sum(len(some) for some in tracks.values()), len(found)
