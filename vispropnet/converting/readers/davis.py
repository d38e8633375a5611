"""DAVIS 2017, and data sets in its layout."""

from __future__ import annotations

from pathlib import Path

from vispropnet.converting.matching import folders, frames_named
from vispropnet.converting.readers.masks import Reader as Masks
from vispropnet.datasets.index_masks import read_split
from vispropnet.errors import UserError
from vispropnet.text import first_of


class Reader(Masks):
    """Reads ``JPEGImages/480p/NAME`` and ``Annotations/480p/NAME``.

    All sequences that have masks, or those of a list: ``--split`` names ``train``, ``val`` or
    ``test-dev`` of ``ImageSets/2017``.
    """

    takes = frozenset(('categories', 'missing', 'split'))

    def _pairs(self) -> list[tuple[str, Path | None, Path]]:
        masks = self._resolution(self.source / 'Annotations')
        images = self.source / 'JPEGImages' / masks.name
        names = [one.name for one in folders(masks)]
        if self.options.split is not None:
            names = read_split(self.source, self.options.split)
        for name in names:
            if not (masks / name).is_dir():
                text = f'there is no folder of masks {masks / name}'
                self.report.error('no masks', text, video_id=name)
        there = [name for name in names if (masks / name).is_dir()]
        return [(name, frames_named(images, name), masks / name) for name in there]

    @staticmethod
    def _resolution(folder: Path) -> Path:
        """Finds the folder of a resolution: 480p, or the only one."""
        if not folder.is_dir():
            raise UserError(f'{folder} not found: DAVIS has JPEGImages and Annotations.')
        found = folders(folder)
        chosen = [one for one in found if one.name == '480p'] or found
        if len(chosen) != 1:
            names = first_of([one.name for one in found], 5) or 'none'
            raise UserError(f'{folder} must hold one folder of a resolution (480p), found {names}.')
        return chosen[0]
