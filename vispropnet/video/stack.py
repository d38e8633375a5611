"""Files of several images: pages of a TIFF, animated WebP and AVIF."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from vispropnet.datasets.images import is_cut_png
from vispropnet.errors import UserError
from vispropnet.video.selection import Picker, Selection
from vispropnet.video.source import FrameSource, SourceFrame, scale_down

_SUBFILE_TYPE, _DESCRIPTION, _REDUCED = 254, 270, 1
# Browsers show a frame that has no duration for so many milliseconds.
_DEFAULT_DURATION = 100


class Pictures(NamedTuple):
    """The images of a file."""

    format: str  # of Pillow, '' where only others read it
    places: list[int]  # of those that are frames


def pictures_of(path: str | os.PathLike) -> Pictures:
    """Lists the images of a file, without the small copies that a TIFF may hold of each.

    Raises:
        UserError: if an animated PNG is cut short, or a TIFF is damaged, has pages of several
            sizes, or keeps images where only the program that wrote it finds them.
    """
    try:
        image = Image.open(path)
    except Exception:  # decoders fail in ways of their own: whoever reads the image will say it
        return Pictures('', [0])
    with image:
        if image.format in ('PNG', 'WEBP', 'AVIF', 'GIF'):
            if image.n_frames > 1 and image.format == 'PNG' and is_cut_png(Path(path).read_bytes()):
                raise UserError(f'image {path}: the PNG is cut short.')
            return Pictures(image.format, list(range(image.n_frames)))
        if image.format != 'TIFF':  # the second image of an MPO is a preview
            return Pictures(image.format, [0])
        try:
            pages = []
            for place in range(image.n_frames):
                image.seek(place)
                if not int(image.tag_v2.get(_SUBFILE_TYPE, 0)) & _REDUCED:
                    pages.append((place, image.size))
            image.seek(0)
            said = re.match(r'ImageJ=.*?\nimages=(\d+)', str(image.tag_v2.get(_DESCRIPTION)), re.S)
        except Exception as error:
            raise UserError(f'image {path}: the list of its pages is damaged ({error}).') from None
    if said is not None and int(said[1]) > len(pages):
        raise UserError(
            f'image {path}: ImageJ has put {said[1]} images into one page, where other programs do '
            'not find them: save them as an image sequence, and give the folder.'
        )
    for place, size in pages:
        if size != pages[0][1]:
            first, other = ('x'.join(map(str, one)) for one in (pages[0][1], size))
            raise UserError(
                f'image {path}: the pages are not of one size: the first has {first} pixels (width '
                f'x height), page {place + 1} has {other}.'
            )
    return Pictures('TIFF', [place for place, _ in pages] or [0])


class StackSource(FrameSource):
    """The images of one file, as 8-bit BGR; of animations at their times.

    Colours are taken as they are where there is an alpha channel; 16 bits are scaled to 8.

    Args:
        path: The file.
        pictures: What is in it.
        selection: The wanted frames.
        max_size: Longest side in pixels, None for any.

    Raises:
        UserError: if an option does not fit; iterating, for an image that cannot be decoded.
    """

    kind = 'stack'

    def __init__(
        self, path: str, pictures: Pictures, selection: Selection, max_size: int | None
    ) -> None:
        self._what, self._selection, self._places = f'image {path}', selection, pictures.places
        self._is_animation = pictures.format != 'TIFF'
        if not self._is_animation:
            selection.check_times(self._what)
        total = len(self._places)
        if (selection.start.frames or 0) >= total:
            raise self._behind_the_end()
        length = None if selection.in_seconds else len(selection.of(total))
        super().__init__(path, Path(path).stem, fps=None, length=length, max_size=max_size)

    def __iter__(self) -> Iterator[SourceFrame]:
        picker, seconds = Picker(self._selection), 0.0 if self._is_animation else None
        with Image.open(self.path) as image:
            for index, place in enumerate(self._places):
                if self._selection.is_over(index, seconds):
                    break
                wanted = picker.takes(index, seconds)
                if wanted or self._is_animation:
                    self._load(image, place, index)
                if wanted:
                    frame = scale_down(self._to_bgr(image), self._max_size)
                    yield SourceFrame(frame, index, f'{index:08d}', seconds)
                if self._is_animation:
                    seconds += (image.info.get('duration') or _DEFAULT_DURATION) / 1000
            else:
                self.end = seconds
        if not picker.started:
            raise self._behind_the_end()

    def notes(self) -> list[str]:
        """Gives nothing: an image that cannot be decoded is an error."""
        return []

    def _load(self, image: Image.Image, place: int, index: int) -> None:
        try:
            image.seek(place)
            image.load()
        except Exception as error:  # decoders fail in ways of their own
            raise UserError(
                f'{self._what}: image {index + 1} of {len(self._places)} cannot be decoded '
                f'({error}).'
            ) from None

    def _to_bgr(self, image: Image.Image) -> np.ndarray:
        if image.mode.startswith('I;16'):
            return cv2.cvtColor((np.asarray(image) >> 8).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        if image.mode in ('I', 'F'):
            raise UserError(
                f'{self._what}: its pixels have 32 bits each: save it with 8 or 16 bits, in which '
                'black and white are the least and the largest value.'
            )
        return cv2.cvtColor(np.asarray(image.convert('RGB')), cv2.COLOR_RGB2BGR)

    def _behind_the_end(self) -> UserError:
        return UserError(
            f'start={self._selection.start} is behind the end of {self._what}: it has '
            f'{len(self._places)} images, counted from 0.'
        )
