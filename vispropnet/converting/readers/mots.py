"""KITTI MOTS and MOTSChallenge: text files with run lengths, or PNGs of 16 bits.

Source: https://www.vision.rwth-aachen.de/page/mots. A line of a text file is ``frame id class
height width rle``; a value of a PNG is 1000 * class + number. Class 10 marks regions to be ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vispropnet.converting.id_maps import read_rles
from vispropnet.converting.interface import Annotations, Frames, SourceVideo
from vispropnet.converting.interface import Reader as Base
from vispropnet.converting.linking import TrackBook
from vispropnet.converting.matching import (
    FRAME_FOLDERS,
    check_missing,
    entries,
    first_folder,
    folders,
    frame_numbers,
    frames_named,
    images_in,
    match_masks,
    source_video,
)
from vispropnet.converting.shapes import Drawing
from vispropnet.errors import UserError
from vispropnet.fileio import read_json

_CLASSES = {'1': 'car', '2': 'pedestrian'}
_IGNORED = 10
_FRAMES = ('training/image_02', 'image_02', *FRAME_FOLDERS)


class Reader(Base):
    """Reads ``instances_txt/SEQUENCE.txt`` or ``instances/SEQUENCE/*.png`` (KITTI MOTS).

    Of MOTSChallenge, ``SEQUENCE/gt/gt.txt`` beside ``SEQUENCE/img1``. Regions to be ignored are
    left out.
    """

    takes = frozenset(('images', 'categories', 'missing'))

    def videos(self) -> Iterable[SourceVideo]:
        """Lists the sequences."""
        self._classes = _CLASSES
        if self.options.categories is not None:
            self._classes = read_json(self.options.categories, 'file of categories')
        self._ignored = 0
        found = []
        for name, frames, masks in self._sequences():
            if frames is None:
                text = f'there are no frames for {masks}'
                self.report.error('no frames', text, video_id=name)
            elif (video := source_video(name, frames, self.report, more=masks)) is not None:
                found.append(video)
        return found

    def annotations(self, video: SourceVideo, frames: Frames) -> Annotations:
        """Reads the objects."""
        book = TrackBook(video, self.report)
        if video.more.is_dir():
            files = match_masks(images_in(video.more), video, frames, self.report)
            annotated = check_missing(files, video, frames, self.options.missing, self.report)
            wanted = {one: files[one] for one in frames.positions if one in files}
            for position, rles in read_rles(wanted, video, frames, self.report):
                for value, rle in rles.items():
                    self._add(book, video, position, value, value // 1000, rle)
            return Annotations(book.tracks(), annotated)
        drawing = Drawing(frames.size, self.report)
        wanted = set(frames.positions)
        for position, number, kind, mask, place in self._lines(video, frames):
            if position in wanted:
                rle = None if kind == _IGNORED else drawing.rle(mask, place)
                self._add(book, video, position, number, kind, rle)
        return Annotations(book.tracks())

    def notes(self) -> list[str]:
        """Says how many regions were left out."""
        return [f'{self._ignored} regions to be ignored were left out.'] if self._ignored else []

    def _add(
        self, book: TrackBook, video: SourceVideo, position: int, number: int, kind: int, rle: Any
    ) -> None:
        if kind == _IGNORED:
            self._ignored += 1
            return
        category = self._classes.get(str(kind))
        if category is None:
            text = f'object {number} is of class {kind}: --categories names it, {{"{kind}": "car"}}'
            self.report.error('category', text, **video.place(position))
            return
        self.categories[category] = kind
        book.add(number, category, position, rle)

    def _lines(
        self, video: SourceVideo, frames: Frames
    ) -> Iterator[tuple[int, int, int, dict[str, Any], dict[str, Any]]]:
        """Yields position, id, class, mask and place of the lines of a text file."""
        numbers = frame_numbers(video.images) or range(frames.total)
        place_of = {number: position for position, number in enumerate(numbers)}
        for line, text in enumerate(_text_of(video.more).splitlines(), 1):
            fields = text.split()
            if not fields:
                continue
            where = video.place(path=f'{video.more}, line {line}')
            try:
                frame, number, kind, height, width = map(int, fields[:5])
                (counts,) = fields[5:]
            except ValueError:
                wanted = 'expected: frame id class height width rle'
                self.report.error('line', f'{wanted}, found {text[:60]!r}', **where)
                continue
            if frame not in place_of:
                self.report.error('no frame', f'there is no frame of number {frame}', **where)
                continue
            position = place_of[frame]
            mask = {'size': [height, width], 'counts': counts}
            yield position, number, kind, mask, {**where, 'frame': position}

    def _sequences(self) -> list[tuple[str, Path | None, Path]]:
        root = self.source
        images = self.options.images or first_folder(root, _FRAMES) or root
        texts, pngs = root / 'instances_txt', root / 'instances'
        if texts.is_dir():
            files = [one for one in entries(texts) if one.suffix == '.txt']
            return [(one.stem, frames_named(images, one.stem), one) for one in files]
        if pngs.is_dir():
            return [(one.name, frames_named(images, one.name), one) for one in folders(pngs)]
        found = [
            (one.name, first_folder(one, FRAME_FOLDERS), one / 'gt' / 'gt.txt')
            for one in folders(root)
            if (one / 'gt' / 'gt.txt').is_file()
        ]
        if not found:
            raise UserError(
                f'{root} holds no MOTS data: expected instances_txt/*.txt, instances/*/*.png or '
                '*/gt/gt.txt.'
            )
        return found


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or 'it is no text in UTF-8'
        raise UserError(f'{path} cannot be read: {reason}.') from None
