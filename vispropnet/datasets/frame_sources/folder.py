"""Frames of a folder of images, or of a single image."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from vispropnet.datasets.frame_sources.selection import Selection
from vispropnet.datasets.frame_sources.source import (
    FrameSource,
    SourceFrame,
    quiet_opencv,
    scale_down,
    scaled_size,
    some_of,
)
from vispropnet.datasets.images import ImageError, decode_image, upright_size
from vispropnet.errors import UserError

# fmt: off
IMAGE_SUFFIXES = frozenset((
    '.avif', '.bmp', '.dib', '.gif', '.hdr', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm', '.pgm',
    '.png', '.pnm', '.ppm', '.ras', '.tif', '.tiff', '.webp',
))
# fmt: on
_MAX_THREADS = 16


def is_still_image(path: str | os.PathLike) -> bool:
    """Whether a file is an image rather than a video, by its name or its first bytes.

    Args:
        path: The file. A GIF is taken for a video: most of them move.
    """
    suffix = Path(path).suffix.lower()
    if suffix == '.gif' or not os.path.isfile(path):
        return False
    quiet_opencv()
    return suffix in IMAGE_SUFFIXES or cv2.haveImageReader(os.fspath(path))


class FolderSource(FrameSource):
    """The images of a folder as 8-bit BGR, in the natural order of their names.

    Positions count all files with an image's suffix. Of images with an alpha channel the colours
    are taken as they are; 16 bits are scaled to 8.

    Args:
        path: The folder, or one image.
        selection: Which frames are wanted.
        max_size: Longest side, in pixels; None leaves frames as they are.

    Raises:
        UserError: if there is no image to be read, or they are not of one size.
    """

    kind = 'folder'

    def __init__(self, path: str | os.PathLike, selection: Selection, max_size: int | None) -> None:
        quiet_opencv()
        self.path = os.fspath(path)
        path = Path(path)
        if path.is_dir():
            self._folder, self._what = path, f'folder {path}'
            names, self._others = _image_names(path)
        else:
            self._folder, self._what = path.parent, f'image {path}'
            names, self._others = [path.name], []
        wanted = selection.resolve(None, self._what).of(len(names))
        if not wanted:
            raise UserError(
                f'start={selection.start} is behind the end of {self._what}: it has {len(names)} '
                'images, counted from 0.'
            )
        self._damaged: list[str] = []
        self._frames, self._unreadable = self._read_headers([(i, names[i]) for i in wanted])
        if not self._frames:
            raise UserError(
                f'{self._what}: none of {len(self._unreadable)} images can be read: '
                f'{some_of(self._unreadable)}.'
            )
        self._check_sizes(max_size)
        super().__init__(
            name=path.resolve().name if path.is_dir() else path.stem,
            fps=None,
            length=len(self._frames),
            max_size=max_size,
        )

    def __iter__(self) -> Iterator[SourceFrame]:
        self._damaged = []
        first: tuple[str, np.ndarray] | None = None
        for index, name, _ in self._frames:
            decoded = _decode(self._folder / name)
            if isinstance(decoded, str):
                self._damaged.append(f'{name} ({decoded})')
                continue
            image = scale_down(decoded, self._max_size)
            # Headers do not tell of every format that it is to be turned.
            first = first or (name, image)
            if image.shape != first[1].shape:
                raise self._sizes_differ(first[0], first[1].shape[1::-1], name, image.shape[1::-1])
            yield SourceFrame(image, index, name)
        if first is None:
            raise UserError(
                f'{self._what}: none of the images can be decoded: {some_of(self._damaged)}.'
            )

    def notes(self) -> list[str]:
        """Says which files were left out."""
        notes = []
        if self._others:
            notes.append(
                f'{self._what}: left out what is no image by its name: {some_of(self._others)}.'
            )
        if faulty := self._unreadable + self._damaged:
            total = len(self._frames) + len(self._unreadable)
            notes.append(
                f'{self._what}: {len(faulty)} of {total} images cannot be read and were left out: '
                f'{some_of(faulty)}.'
            )
        return notes

    def _read_headers(
        self, names: Sequence[tuple[int, str]]
    ) -> tuple[list[tuple[int, str, tuple[int, int]]], list[str]]:
        """Positions, names and sizes of the images, and what cannot be read."""
        frames, unreadable = [], []
        paths = [os.fspath(self._folder / name) for _, name in names]
        with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
            for (index, name), seen in zip(names, pool.map(_size, paths), strict=True):
                if isinstance(seen, str):
                    unreadable.append(f'{name} ({seen})')
                else:
                    frames.append((index, name, seen))
        return frames, unreadable

    def _check_sizes(self, max_size: int | None) -> None:
        _, first, size = self._frames[0]
        for _, name, other in self._frames:
            if scaled_size(*other, max_size) != scaled_size(*size, max_size):
                raise self._sizes_differ(first, size, name, other)

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
    names.sort(key=_natural)
    images = [
        name
        for name in names
        if Path(name).suffix.lower() in IMAGE_SUFFIXES and not (folder / name).is_dir()
    ]
    kept = set(images)
    others = [name for name in names if name not in kept]
    if images:
        return images, others
    if not names:
        raise UserError(f'folder {folder} is empty: expected images.')
    hint = ''
    if any((folder / name).is_dir() for name in others):
        hint = ' Name the folder that the images lie in directly.'
    raise UserError(f'folder {folder} has no images, only {some_of(others)}.{hint}')


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Key by which numbers inside names count as numbers."""
    parts = re.split('([0-9]+)', name)
    # Digits stand at the odd places; every part gets the same form, so that all compare.
    keys = [(1, int(p), '') if place % 2 else (0, 0, p) for place, p in enumerate(parts)]
    return keys, name


def _decode(path: Path) -> np.ndarray | str:
    """(H, W, 3) uint8 BGR, upright; or what is wrong with the file."""
    try:
        return decode_image(path.read_bytes())
    except OSError as error:
        return str(error.strerror)
    except ImageError as error:
        return str(error).removeprefix('cannot be read as an image: ')


def _size(path: str) -> tuple[int, int] | str:
    """Width and height of the upright image; or what is wrong with the file."""
    try:
        return upright_size(path)
    except ImageError as error:
        return str(error).removeprefix('cannot be read as an image: ')
