"""JSON files of LabelMe, so that results become a first annotation."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Any, ClassVar

from pycocotools import mask as mask_utils

from vispropnet.converting.export import ExportVideo
from vispropnet.converting.export import Writer as Base
from vispropnet.converting.outlines import outlines_of
from vispropnet.datasets.frame_paths import frame_path
from vispropnet.fileio import write_json

# Of the form; LabelMe compares nothing but reads newer and older ones.
_VERSION = '5.4.1'


class Writer(Base):
    """Writes ``labels/VIDEO/FRAME.json``; ``group_id`` is the number of the track.

    A part of an object is a polygon; a hole is joined to its outline.
    """

    entries: ClassVar[tuple[str, ...]] = ('labels',)

    def add(self, video: ExportVideo) -> None:
        """Writes the files of a video."""
        height, width = video.size
        for frame, file in enumerate(video.files):
            path = PurePosixPath('labels', video.name, f'{PurePosixPath(file).stem}.json')
            content = {
                'version': _VERSION,
                'flags': {},
                'shapes': [
                    shape
                    for track in video.tracks
                    if track.rles[frame] is not None
                    for shape in _shapes(track.number, track.category, track.rles[frame])
                ],
                'imagePath': self._image(file, self.final / path.parent),
                'imageData': None,
                'imageHeight': height,
                'imageWidth': width,
            }
            write_json(self.folder / path, content, indent=1)

    def _image(self, file: str, folder: os.PathLike) -> str:
        if self.images is None:
            return PurePosixPath(file).name
        return os.path.relpath(frame_path(self.images, file), folder)


def _shapes(number: int, category: str, rle: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            'label': category,
            'points': [list(point) for point in zip(line[::2], line[1::2], strict=True)],
            'group_id': number,
            'shape_type': 'polygon',
            'flags': {},
        }
        for line in outlines_of(mask_utils.decode(rle))
    ]
