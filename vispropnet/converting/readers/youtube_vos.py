"""YouTube-VOS 2018 and 2019, a split as it ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vispropnet.converting.interface import Frames, SourceVideo
from vispropnet.converting.readers.masks import Reader as Masks
from vispropnet.errors import UserError
from vispropnet.fileio import read_json
from vispropnet.text import shown


class Reader(Masks):
    """Reads ``JPEGImages/VIDEO``, ``Annotations/VIDEO`` and the categories in ``meta.json``.

    Where all frames were downloaded, every fifth is annotated: frames without a PNG are unannotated
    ones, unless ``meta.json`` says that an object is on them.
    """

    takes = frozenset()

    def _annotated(
        self, files: dict[int, Path], video: SourceVideo, frames: Frames
    ) -> list[int] | None:
        objects = self._meta[video.name].values()
        listed = {str(stem) for one in objects for stem in one.get('frames', ())}
        for stem in sorted(listed - {path.stem for path in video.images}):
            text = f'meta.json says that an object is on frame {shown(stem)}, which is not there'
            self.report.error('missing frame', text, **video.place())
        for position in frames.positions:
            stem = video.images[position].stem
            if stem in listed and position not in files:
                text = f'meta.json says that an object is here, but there is no {stem}.png'
                self.report.error('missing mask', text, **video.place(position))
        return [position for position in frames.positions if position in files]

    def _category(self, video: SourceVideo, number: int, position: int) -> str:
        one = self._meta[video.name].get(str(number))
        if one is None:
            text = f'id {number} is not among the objects of this video in meta.json'
            self.report.error('category', text, **video.place(position))
            return 'object'
        return one['category']

    def _read_categories(self) -> dict:
        path = self.source / 'meta.json'
        content = read_json(path, 'meta file')
        try:
            self._meta: dict[str, dict[str, Any]] = {
                name: {str(int(key)): _sound(one) for key, one in video['objects'].items()}
                for name, video in content['videos'].items()
            }
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UserError(
                f'meta file {path} must hold {{"videos": {{VIDEO: {{"objects": {{"1": '
                '{"category": ..., "frames": [...]}}}}}}, as that of YouTube-VOS.'
            ) from None
        return {}

    def _pairs(self) -> list[tuple[str, Path | None, Path]]:
        images, masks = self.source / 'JPEGImages', self.source / 'Annotations'
        for name in self._meta:
            if not (masks / name).is_dir():
                text = f'there is no folder of masks {masks / name}'
                self.report.error('no masks', text, video_id=name)
        there = [name for name in self._meta if (masks / name).is_dir()]
        return [(name, images / name, masks / name) for name in there]


def _sound(entry: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(entry['category'], str) or not isinstance(entry.get('frames', []), list):
        raise TypeError
    return entry
