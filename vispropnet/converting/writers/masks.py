"""PNGs whose values are numbers of tracks, as the reader of the form ``masks`` takes them."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np
from PIL import Image

from vispropnet.converting.export import ExportVideo
from vispropnet.converting.export import Writer as Base
from vispropnet.datasets.index_masks import write_index_mask
from vispropnet.fileio import write_json


class Writer(Base):
    """Writes ``masks/VIDEO/FRAME.png`` and ``categories.json``: ``{VIDEO: {number: category}}``.

    PNGs have 8 bits and a palette, or 16 bits where a video has more than 254 tracks.
    """

    entries: ClassVar[tuple[str, ...]] = ('masks', 'categories.json')

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self._categories: dict[str, dict[str, str]] = {}

    def add(self, video: ExportVideo) -> None:
        """Writes the PNGs of a video."""
        folder = self.folder / 'masks' / video.name
        folder.mkdir(parents=True)
        for frame, file in enumerate(video.files):
            path = folder / f'{PurePosixPath(file).stem}.png'
            ids = video.id_map(frame)
            if ids.dtype == np.uint8:
                write_index_mask(path, ids)
            else:
                Image.fromarray(ids).save(path, format='PNG')
        named = {str(track.number): track.category for track in video.tracks}
        self._categories[video.name] = named

    def finish(self, categories: dict[int, str]) -> None:
        """Writes the categories of the tracks."""
        write_json(self.folder / 'categories.json', self._categories, indent=1)
