"""Frames of a folder of images, or of a single image."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vispropnet.datasets.images import ImageError, decode_image, upright_size
from vispropnet.errors import UserError
from vispropnet.positions import evenly
from vispropnet.text import first_of
from vispropnet.video.selection import Selection
from vispropnet.video.source import FrameSource, SourceFrame, scale_down, scaled_size
from vispropnet.video.stack import pictures_of

# fmt: off
IMAGE_SUFFIXES = frozenset((
    '.avif', '.bmp', '.dib', '.gif', '.hdr', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm', '.pgm',
    '.png', '.pnm', '.ppm', '.ras', '.tif', '.tiff', '.webp',
))
# fmt: on
# One JPEG behind the other, which begin as an image does.
_JPEG_STREAMS = ('.mjpeg', '.mjpg')
_MAX_THREADS = 16
_some_of = functools.partial(first_of, most=3)


def is_image(path: str | os.PathLike) -> bool:
    """Finds an image, also one that moves, by its name or first bytes."""
    suffix = Path(path).suffix.lower()
    if suffix in _JPEG_STREAMS or not os.path.isfile(path):
        return False
    _quiet_opencv()
    return suffix in IMAGE_SUFFIXES or cv2.haveImageReader(os.fspath(path))


class FolderSource(FrameSource):
    """The images of a folder, or one image, as 8-bit BGR, in the natural order of their names.

    Positions count all files with an image's suffix. Of images with an alpha channel the colours
    are taken as they are; 16 bits are scaled to 8.

    Raises:
        UserError: if there is no image to be read, they are not of one size, or a file holds
            several.
    """

    kind = 'folder'

    def __init__(self, path: str, selection: Selection, max_size: int | None) -> None:
        _quiet_opencv()
        place = Path(path)
        if place.is_dir():
            self._folder, self._what, name = place, f'folder {path}', place.resolve().name
            names, self._others = _image_names(place)
        else:
            self._folder, self._what, name = place.parent, f'image {path}', place.stem
            names, self._others = [place.name], []
        selection.check_times(self._what)
        wanted = selection.of(len(names))
        if not wanted:
            raise UserError(
                f'start={selection.start} is behind the end of {self._what}: it has {len(names)} '
                'images, counted from 0.'
            )
        self._damaged: list[str] = []
        size_or_fault = functools.partial(_result_or_fault, _size_of_one)
        with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
            headers = pool.map(size_or_fault, [self._folder / names[i] for i in wanted])
            seen = [(i, names[i], header) for i, header in zip(wanted, headers, strict=True)]
        self._frames = [one for one in seen if not isinstance(one[2], str)]
        self._unreadable = [f'{name} ({said})' for _, name, said in seen if isinstance(said, str)]
        if not self._frames:
            raise UserError(
                f'{self._what}: none of {len(self._unreadable)} images can be read: '
                f'{_some_of(self._unreadable)}.'
            )
        _, first, size = self._frames[0]
        for _, other, other_size in self._frames:
            if scaled_size(*other_size, max_size) != scaled_size(*size, max_size):
                raise self._sizes_differ(first, size, other, other_size)
        super().__init__(path, name, fps=None, length=len(self._frames), max_size=max_size)

    def __iter__(self) -> Iterator[SourceFrame]:
        self._damaged = []
        first: tuple[str, np.ndarray] | None = None
        for index, name, _ in self._frames:
            decoded = _result_or_fault(_decode, self._folder / name)
            if isinstance(decoded, str):
                self._damaged.append(f'{name} ({decoded})')
                continue
            image = scale_down(decoded, self._max_size)
            # Headers do not say of every format that it is to be turned.
            first = first or (name, image)
            if image.shape != first[1].shape:
                raise self._sizes_differ(first[0], first[1].shape[1::-1], name, image.shape[1::-1])
            yield SourceFrame(image, index, name)
        if first is None:
            raise UserError(
                f'{self._what}: none of the images can be decoded: {_some_of(self._damaged)}.'
            )

    def evenly(self, count: int) -> Iterator[tuple[int, SourceFrame]]:
        """Gives, as the base class, frames spread evenly, and reads these only.

        In place of one that cannot be decoded comes the first after it that can, if any does before
        the next place.
        """
        places = evenly(len(self._frames), count)
        for place, following in itertools.pairwise([*places, len(self._frames)]):
            for other in range(place, following):
                index, name, _ = self._frames[other]
                decoded = _result_or_fault(_decode, self._folder / name)
                if not isinstance(decoded, str):
                    image = scale_down(decoded, self._max_size)
                    yield other, SourceFrame(image, index, name)
                    break

    def notes(self) -> list[str]:
        """Names the files that were left out."""
        notes = []
        if self._others:
            notes.append(f'left out what is no image by its name: {_some_of(self._others)}.')
        if faulty := self._unreadable + self._damaged:
            count = f'{len(faulty)} of {len(self._frames) + len(self._unreadable)} images'
            notes.append(f'{count} cannot be read and were left out: {_some_of(faulty)}.')
        return [f'{self._what}: {note}' for note in notes]

    def _sizes_differ(
        self, first: str, size: Sequence[int], second: str, other: Sequence[int]
    ) -> UserError:
        return UserError(
            f'{self._what}: the frames are not of one size: {first} has {size[0]}x{size[1]} pixels '
            f'(width x height), {second} has {other[0]}x{other[1]}. Put the frames of each size '
            'into a folder of their own, or scale them to one size first.'
        )


def _image_names(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the images in natural order, and of the other files and folders."""
    try:
        names = [name for name in os.listdir(folder) if not name.startswith('.')]
    except OSError as error:
        raise UserError(f'folder {folder} cannot be read: {error.strerror}.') from None
    images, others = [], []
    for name in sorted(names, key=natural_key):
        is_image = Path(name).suffix.lower() in IMAGE_SUFFIXES and not (folder / name).is_dir()
        (images if is_image else others).append(name)
    if images:
        return images, others
    if not names:
        raise UserError(f'folder {folder} is empty: expected images.')
    folders = any((folder / name).is_dir() for name in others)
    hint = ' Name the folder that the images lie in directly.' if folders else ''
    raise UserError(f'folder {folder} has no images, only {_some_of(others)}.{hint}')


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key by which numbers inside names count as numbers."""
    parts = re.split('([0-9]+)', name)
    # Digits are at the odd places; every part gets the same form, so that all compare.
    keys = [(1, int(p), '') if place % 2 else (0, 0, p) for place, p in enumerate(parts)]
    return keys, name


def _size_of_one(path: Path) -> tuple[int, int]:
    """Size of the one image of a file; files of several are refused, so that none is lost."""
    if (count := len(pictures_of(path).places)) > 1:
        raise UserError(
            f'image {path} holds {count} images, but of a folder each file is one frame: give the '
            'file itself as the input, or take it out of the folder.'
        )
    return upright_size(path)


def _decode(path: Path) -> np.ndarray:
    return decode_image(path.read_bytes())


def _result_or_fault(read: Callable[[Path], Any], path: Path) -> Any:
    """What ``read`` gives; or, as a text, what is wrong with the file."""
    try:
        return read(path)
    except OSError as error:
        return str(error.strerror)
    except ImageError as error:
        return str(error).removeprefix('cannot be read as an image: ')


def _quiet_opencv() -> None:
    """Keeps OpenCV's own words on a file off the terminal, unless the user has asked for them."""
    if 'OPENCV_LOG_LEVEL' not in os.environ:
        cv2.setLogLevel(0)
