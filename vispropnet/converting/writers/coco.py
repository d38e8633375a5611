"""COCO results of single images."""

from __future__ import annotations

from typing import Any, ClassVar

from pycocotools import mask as mask_utils

from vispropnet.converting.export import ExportVideo
from vispropnet.converting.export import Writer as Base
from vispropnet.fileio import write_json


class Writer(Base):
    """Writes ``results.json`` for the images of ``images.json``, which count through all videos.

    An entry has ``track_id`` besides, which counts through all videos too.
    """

    entries: ClassVar[tuple[str, ...]] = ('results.json', 'images.json')

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self._videos: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []
        self._tracks = 0

    def add(self, video: ExportVideo) -> None:
        """Takes in a video."""
        height, width = video.size
        self._videos.append({'id': len(self._videos) + 1, 'name': video.name})
        for frame, file in enumerate(video.files):
            image = {'id': len(self._images) + 1, 'file_name': file}
            size = {'height': height, 'width': width}
            self._images.append({**image, **size, 'video_id': len(self._videos), 'frame_id': frame})
            self._results += [
                {
                    'image_id': image['id'],
                    'category_id': track.category_id,
                    'bbox': mask_utils.toBbox(track.rles[frame]).tolist(),
                    'score': track.score,
                    'segmentation': track.rles[frame],
                    'track_id': self._tracks + track.number,
                }
                for track in video.tracks
                if track.rles[frame] is not None
            ]
        self._tracks += len(video.tracks)

    def finish(self, categories: dict[int, str]) -> None:
        """Writes the files."""
        named = [{'id': number, 'name': name} for number, name in categories.items()]
        content = {'videos': self._videos, 'images': self._images, 'categories': named}
        write_json(self.folder / 'images.json', {**content, 'annotations': []})
        write_json(self.folder / 'results.json', self._results)
