"""JSON files of SA-V, one per video, beside the videos.

Source: https://github.com/facebookresearch/sam2, sav_dataset. ``masklet`` has for each annotated
frame, every fourth one, a list with the RLE of each object.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vispropnet.converting.interface import Annotations, Frames, Options, SourceVideo
from vispropnet.converting.interface import Reader as Base
from vispropnet.converting.linking import TrackBook
from vispropnet.converting.matching import FRAME_FOLDERS, entries, frames_named, source_video
from vispropnet.converting.shapes import Drawing
from vispropnet.datasets.annotation_values import is_id
from vispropnet.datasets.check_report import Report
from vispropnet.errors import UserError
from vispropnet.fileio import read_json

# Masks are on every so many frames.
_STRIDE = 4
_ENDINGS = ('_manual', '_auto')


class Reader(Base):
    """Reads ``NAME_manual.json`` or else ``NAME_auto.json``, with ``NAME.mp4`` or a folder of it.

    Of the frames those with masks come, unless ``--every`` says otherwise. All objects are of the
    category ``object``.
    """

    takes = frozenset(('images',))

    def __init__(self, source: Path, options: Options, report: Report) -> None:
        super().__init__(source, options, report)
        self.step = _STRIDE

    def videos(self) -> Iterable[SourceVideo]:
        """Lists the videos, by their JSON files."""
        files = [self.source]
        if self.source.is_dir():
            files = [one for one in entries(self.source) if one.suffix == '.json']
        by_name: dict[str, Path] = {}
        for ending in reversed(_ENDINGS):  # manual ones replace the others
            by_name |= {
                one.stem.removesuffix(ending): one for one in files if one.stem.endswith(ending)
            }
        if not by_name:
            raise UserError(f'{self.source} holds no files *_manual.json or *_auto.json of SA-V.')
        found = []
        for name, path in sorted(by_name.items()):
            folder = self.options.images or path.parent
            places = [folder, *(folder / one for one in FRAME_FOLDERS)]
            frames = next(filter(None, (frames_named(one, name) for one in places)), None)
            if frames is None:
                text = f'there is no {name}.mp4, nor a folder {name} of images, in {folder}'
                self.report.error('no frames', text, video_id=name, file_name=str(path))
            elif (video := source_video(name, frames, self.report, more=path)) is not None:
                found.append(video)
        return found

    def annotations(self, video: SourceVideo, frames: Frames) -> Annotations:
        """Reads the objects."""
        content = read_json(video.more, 'SA-V file')
        masklet, ids = _lists(content)
        if masklet is None:
            text = (
                "'masklet_id' must be a list of ids, and 'masklet' one with, for each frame, a "
                'list of as many masks'
            )
            self.report.error('structure', text, **video.place(path=video.more))
            return Annotations([])
        last = (len(masklet) - 1) * _STRIDE
        if last >= frames.total:
            text = f'there are masks up to frame {last}, but the video has {frames.total} frames'
            self.report.error('no frame', text, **video.place(path=video.more))
        drawing, book = Drawing(frames.size, self.report), TrackBook(video, self.report)
        for position in frames.positions:
            number, rest = divmod(position, _STRIDE)
            if rest or number >= len(masklet):
                continue
            place = video.place(position, video.more)
            if len(masklet[number]) != len(ids):
                text = f'there are {len(masklet[number])} masks for {len(ids)} objects'
                self.report.error('structure', text, **place)
                continue
            for key, mask in zip(ids, masklet[number], strict=True):
                rle = None if mask is None else drawing.rle(mask, place, may_be_empty=True)
                book.add(key, 'object', position, rle, path=video.more)
        ends = len(masklet) * _STRIDE
        annotated = [one for one in frames.positions if one % _STRIDE == 0 and one < ends]
        return Annotations(book.tracks(), annotated)


def _lists(content: Any) -> tuple[list[Any] | None, list[Any]]:
    masklet = content.get('masklet') if isinstance(content, dict) else None
    ids = content.get('masklet_id') if isinstance(content, dict) else None
    sound = isinstance(masklet, list) and isinstance(ids, list)
    if not sound or not all(isinstance(one, list) for one in masklet):
        return None, []
    if not all(is_id(one) or isinstance(one, str) for one in ids):
        return None, []
    return masklet, ids
