"""Frames of the videos put into the output: linked, copied, scaled, or taken out of video files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vispropnet.converting.interface import Frames, SourceVideo
from vispropnet.datasets.annotation_values import name_fault
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.images import ImageError, decode_image, upright_size
from vispropnet.errors import UserError
from vispropnet.video import open_source
from vispropnet.video.selection import Selection
from vispropnet.video.source import scale_down, scaled_size

_JPEG_QUALITY = 95
_MAX_THREADS = 8


class FrameStore:
    """The folder of frames of the output.

    Args:
        folder: It, which exists.
        mode: ``'link'`` or ``'copy'``, of images that stay as they are.
        max_size: Longest side in pixels; larger frames are scaled down to it. None for any.
        report: Takes what is wrong with frames.
    """

    def __init__(self, folder: Path, mode: str, max_size: int | None, report: Report) -> None:
        self._folder, self._mode, self._max_size, self._report = folder, mode, max_size, report

    def add(self, video: SourceVideo, every: int | str) -> Frames | None:
        """Puts every so many frames of a video into the folder.

        Args:
            video: The video.
            every: As of :func:`~vispropnet.video.open_source`.

        Returns:
            The frames; None, and reported, if they cannot be used.
        """
        before = self._report.count('error')
        frames = self._images(video, every) if video.images else self._file(video, every)
        for name in frames.names if frames else ():
            if (fault := name_fault(name)) is not None:
                self._report.error('file name', fault, video_id=video.name, file_name=name)
        return frames if self._report.count('error') == before else None

    def _images(self, video: SourceVideo, every: int | str) -> Frames | None:
        selection = Selection.parse(every, None, None)
        selection.check_times(f'video {video.name}')
        positions = list(selection.of(len(video.images)))
        images = [video.images[one] for one in positions]
        size = self._one_size(video, positions, _at_once(_size_or_fault, images))
        if size is None:
            return None
        new = scaled_size(*size, self._max_size)
        names = [_name_of(video, path, new != size) for path in images]
        paths = [self._folder / name for name in names]
        for parent in {path.parent for path in paths}:
            parent.mkdir(parents=True, exist_ok=True)
        put = _link if self._mode == 'link' else _copy
        faults = _at_once(put if new == size else self._scale, images, paths)
        for position, fault in zip(positions, faults, strict=True):
            if isinstance(fault, ImageError):
                self._report.error('unreadable frame', str(fault), **video.place(position))
        return Frames(positions, names, size[::-1], new[::-1], len(video.images))

    def _one_size(
        self, video: SourceVideo, positions: list[int], sizes: list[tuple[int, int] | str]
    ) -> tuple[int, int] | None:
        """Gives the width and height that all frames have; None, and reported, if they differ."""
        first = next((one for one in sizes if not isinstance(one, str)), None)
        for position, size in zip(positions, sizes, strict=True):
            if isinstance(size, str):
                self._report.error('unreadable frame', size, **video.place(position))
            elif size != first:
                text = f'the frame is {_x(size)} pixels, those before are {_x(first)}'
                self._report.error('frame of another size', text, **video.place(position))
        return first if all(size == first for size in sizes) else None

    def _file(self, video: SourceVideo, every: int | str) -> Frames | None:
        (self._folder / video.name).mkdir(parents=True, exist_ok=True)
        positions, seconds, size, new = [], [], None, None
        try:
            source = open_source(video.file, every=every)
            for frame in source:
                image = scale_down(frame.image, self._max_size)
                size, new = frame.image.shape[:2], image.shape[:2]
                positions.append(frame.index)
                seconds.append(frame.seconds)
                _write_jpeg(self._folder / video.name / f'{frame.index:06d}.jpg', image)
            for note in source.notes():
                self._report.warn('damaged video', note, video_id=video.name)
            total = max(open_source(video.file).length or 0, positions[-1] + 1)
        except UserError as error:
            self._report.error('unreadable video', str(error), **video.place(path=video.file))
            return None
        names = [f'{video.name}/{position:06d}.jpg' for position in positions]
        times = None if None in seconds else [round(one, 6) for one in seconds]
        return Frames(positions, names, size, new, total, times)

    def _scale(self, source: Path, target: Path) -> ImageError | None:
        try:
            _write_jpeg(target, scale_down(decode_image(source.read_bytes()), self._max_size))
        except ImageError as error:
            return error
        return None


def _at_once(function: Callable[..., Any], *items: Sequence[Any]) -> list[Any]:
    """Maps a function that waits for disks or leaves the interpreter's lock, in threads."""
    if len(items[0]) == 1:
        return [function(*(some[0] for some in items))]
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, *items))


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except FileExistsError:
        raise UserError(f'two frames would be named {target.name} in {target.parent}.') from None
    except OSError as error:
        raise UserError(
            f'{target} cannot be made a link: {error.strerror}. Give --frames copy.'
        ) from None


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise UserError(f'{source} cannot be copied to {target}: {error.strerror}.') from None


def _size_or_fault(path: Path) -> tuple[int, int] | str:
    try:
        return upright_size(path)
    except ImageError as error:
        return str(error)


def _name_of(video: SourceVideo, path: Path, is_scaled: bool) -> str:
    name = f'{path.stem}.jpg' if is_scaled else path.name
    folder = video.name if video.folder is None else video.folder
    return f'{folder}/{name}' if folder else name


def _x(size: tuple[int, int]) -> str:
    return f'{size[0]}x{size[1]}'


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    path.write_bytes(
        cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
    )
