"""Objects that are given by the tracks of a result file: the first mask of each."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.datasets.rle import RLE, checked_rles
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import iter_sound_results


@dataclass(frozen=True)
class Seed:
    """One track.

    Args:
        label: Of its category, in the data set.
        score: Of the track.
        frame: Position of its first mask in the video.
        rle: The mask.
    """

    label: int
    score: float
    frame: int
    rle: RLE


class SeedTracks:
    """Tracks of a result file as given objects, numbered from 1 in each video as in the file.

    Args:
        path: Result file in YouTube-VIS form, or the archive made of it.
        dataset: The videos, a :class:`~vispropnet.datasets.video_objects.VideoObjects`.
        threshold: Tracks that score less are left out.

    Raises:
        UserError: naming file and entry, if a track fits no video or category of the data set.
    """

    def __init__(self, path: str | os.PathLike, dataset: Any, threshold: float = 0.0) -> None:
        self._seeds: dict[int, list[Seed]] = defaultdict(list)
        videos = {}
        for _, frames in dataset.videos():
            info = dataset.get_data_info(frames[0])
            size = {key: info[key] for key in ('width', 'height')}
            video_id = info['video_id']
            videos[video_id] = dict(size, id=video_id, length=len(frames))
        labels = {one: label for label, one in enumerate(dataset.metainfo['category_ids'])}
        for index, entry in enumerate(iter_sound_results(path, progress=True)):
            where = f'result file {path}: entry {index}'
            for key, known in (('video_id', videos), ('category_id', labels)):
                if entry[key] not in known:
                    raise UserError(f'{where}: {key} {entry[key]} is not in {dataset.ann_file}.')
            if entry['score'] < threshold:
                continue
            rles = checked_rles(entry['segmentations'], videos[entry['video_id']], where)
            shown = [frame for frame, rle in enumerate(rles) if rle and mask_utils.area(rle)]
            if shown:
                label = labels[entry['category_id']]
                seed = Seed(label, float(entry['score']), shown[0], rles[shown[0]])
                self._seeds[entry['video_id']].append(seed)

    def of_video(self, video_id: int) -> dict[int, Seed]:
        """Gives the tracks of a video by their number."""
        return dict(enumerate(self._seeds.get(video_id, ()), 1))

    def given(self, video_id: int, frame: int) -> dict[int, np.ndarray]:
        """Gives the (H, W) bool masks of the tracks that begin in a frame, by number."""
        return {
            number: mask_utils.decode(seed.rle).astype(bool)
            for number, seed in self.of_video(video_id).items()
            if seed.frame == frame
        }
