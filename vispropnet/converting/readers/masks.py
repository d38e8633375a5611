"""Folders of frames, or videos, and of PNGs whose values are ids of objects."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vispropnet.converting.id_maps import read_rles
from vispropnet.converting.interface import Annotations, Frames, SourceVideo, Track
from vispropnet.converting.interface import Reader as Base
from vispropnet.converting.matching import (
    FRAME_FOLDERS,
    MASK_FOLDERS,
    VIDEO_SUFFIXES,
    check_missing,
    entries,
    first_folder,
    folders,
    frames_named,
    images_in,
    match_masks,
    source_video,
)
from vispropnet.errors import UserError
from vispropnet.fileio import read_json
from vispropnet.text import shown

_LAYOUTS = (
    'expected frames/VIDEO/*.jpg and masks/VIDEO/*.png, or VIDEO/frames and VIDEO/masks, or frames '
    'and masks of one video (in place of a folder of frames a video file: VIDEO.mp4)'
)


class Reader(Base):
    """Reads frames and PNGs of ids, with a palette or grey, of 8 or 16 bits.

    Objects are of the category ``object``, unless a file of categories says: ``{"1": "cat"}`` for
    ids of all videos, or ``{"VIDEO": {"1": "cat"}}``.
    """

    takes = frozenset(('images', 'categories', 'missing'))
    suffixes = frozenset(('.png',))

    def videos(self) -> Iterable[SourceVideo]:
        """Lists the videos, by the folders of masks."""
        self._names = self._read_categories()
        found = [self._video(*one) for one in self._pairs()]
        return [one for one in found if one is not None]

    def annotations(self, video: SourceVideo, frames: Frames) -> Annotations:
        """Reads the masks."""
        listed = [one for one in entries(video.more) if one.suffix.lower() in self.suffixes]
        files = match_masks(listed, video, frames, self.report)
        annotated = self._annotated(files, video, frames)
        wanted = {one: files[one] for one in frames.positions if one in files}
        tracks: dict[int, Track] = {}
        for position, rles in read_rles(wanted, video, frames, self.report):
            for number, rle in rles.items():
                if number not in tracks:
                    category = self._category(video, number, position)
                    tracks[number] = Track(number, category)
                tracks[number].masks[position] = rle
        if wanted and not tracks:
            text = (
                'no mask has an object. 255 is void: of masks with 0 and 255, make the ids 1 and up'
            )
            self.report.warn('video without objects', text, video_id=video.name)
        return Annotations([tracks[number] for number in sorted(tracks)], annotated)

    def _annotated(
        self, files: dict[int, Path], video: SourceVideo, frames: Frames
    ) -> list[int] | None:
        """Gives the positions of annotated frames, None for all, and reports missing masks."""
        return check_missing(files, video, frames, self.options.missing, self.report)

    def _category(self, video: SourceVideo, number: int, position: int) -> str:
        names = self._names.get(video.name, self._names)
        if not self._names:
            return 'object'
        name = names.get(str(number)) if isinstance(names, dict) else None
        if not isinstance(name, str):
            text = f'id {number} has no category in {self.options.categories}'
            self.report.error('category', text, **video.place(position))
            return 'object'
        return name

    def _read_categories(self) -> dict:
        if self.options.categories is None:
            return {}
        content = read_json(self.options.categories, 'file of categories')
        if not isinstance(content, dict) or not content:
            raise UserError(
                f'file of categories {self.options.categories} must hold {{"1": "cat", ...}} or '
                f'{{"VIDEO": {{"1": "cat"}}, ...}}, found {shown(content)}.'
            )
        return content

    def _video(self, name: str, frames: Path | None, masks: Path) -> SourceVideo | None:
        if frames is None:
            text = f'there are no frames for the masks in {masks}'
            self.report.error('no frames', text, video_id=name)
            return None
        return source_video(name, frames, self.report, more=masks)

    def _pairs(self) -> list[tuple[str, Path | None, Path]]:
        """Finds name, frames and folder of masks of each video."""
        root = self.source
        masks = first_folder(root, MASK_FOLDERS)
        if masks is None:
            inner = [(one, first_folder(one, MASK_FOLDERS)) for one in folders(root)]
            found = [(one.name, self._frames_beside(one), at) for one, at in inner if at]
            if not found:
                raise UserError(f'{root} has no folders of masks: {_LAYOUTS}.')
            return found
        if _pngs(masks):
            frames = self.options.images or self._frames_beside(root)
            name = frames.stem if frames and not frames.is_dir() else root.resolve().name
            return [(name, frames, masks)]
        images = self.options.images or first_folder(root, FRAME_FOLDERS) or root
        return [(one.name, frames_named(images, one.name), one) for one in folders(masks)]

    def _frames_beside(self, folder: Path) -> Path | None:
        """Finds the frames of one video: a folder of images, a video file."""
        inner = first_folder(folder, FRAME_FOLDERS)
        videos = [one for one in entries(folder) if one.suffix.lower() in VIDEO_SUFFIXES]
        if inner is not None and images_in(inner):
            return inner
        if len(videos) == 1:
            return videos[0]
        return folder if images_in(folder) else None


def _pngs(folder: Path) -> bool:
    return any(one.suffix.lower() == '.png' for one in entries(folder))
