"""Text files of KITTI MOTS and MOTSChallenge."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from vispropnet.converting.export import ExportVideo
from vispropnet.converting.export import Writer as Base
from vispropnet.converting.id_maps import id_map_rles
from vispropnet.converting.matching import frame_numbers
from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path, write_json

_MOST_OBJECTS = 999


class Writer(Base):
    """Writes ``instances_txt/VIDEO.txt``: a line ``frame id class height width rle`` per mask.

    Masks do not overlap, as the form asks: better scores are in front. The class is the category's
    id, which ``categories.json`` names; an id is 1000 * class + number. Frames have the numbers in
    their file names, or else count from 0.
    """

    entries: ClassVar[tuple[str, ...]] = ('instances_txt', 'categories.json')

    def add(self, video: ExportVideo) -> None:
        """Writes the file of a video."""
        counts: Counter[int] = Counter()
        ids = {}
        for track in video.tracks:
            counts[track.category_id] += 1
            if counts[track.category_id] > _MOST_OBJECTS:
                raise UserError(
                    f'video {video.name} has more than {_MOST_OBJECTS} tracks of category '
                    f'{track.category!r}, which MOTS cannot number: raise the score threshold.'
                )
            ids[track.number] = 1000 * track.category_id + counts[track.category_id]
        lines = []
        for frame, number in enumerate(frame_numbers(video.files)):
            for key, rle in id_map_rles(video.id_map(frame)).items():
                height, width = rle['size']
                kind = ids[key] // 1000
                lines.append(f'{number} {ids[key]} {kind} {height} {width} {rle["counts"]}\n')
        name = video.name.replace('/', '_')
        with atomic_path(self.folder / 'instances_txt' / f'{name}.txt') as path:
            path.write_text(''.join(lines), encoding='utf-8', newline='\n')

    def finish(self, categories: dict[int, str]) -> None:
        """Writes the names of the classes."""
        named = {str(number): name for number, name in categories.items()}
        write_json(self.folder / 'categories.json', named, indent=1)
