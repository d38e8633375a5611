"""Frames to segment: of a video file, a folder of images or a camera."""

from __future__ import annotations

import os

from vispropnet.datasets.frame_sources.camera import CameraSource
from vispropnet.datasets.frame_sources.folder import FolderSource, is_still_image
from vispropnet.datasets.frame_sources.selection import Selection, whole_number
from vispropnet.datasets.frame_sources.source import FrameSource, SourceFrame
from vispropnet.datasets.frame_sources.video import VideoSource
from vispropnet.errors import UserError

__all__ = ['FrameSource', 'SourceFrame', 'open_source']


def open_source(
    source: str | os.PathLike | int,
    every: int | str = 1,
    start: int | str | None = None,
    end: int | str | None = None,
    max_size: int | str | None = None,
) -> FrameSource:
    """Opens a video file, a folder of frames or a camera, and looks whether it can be read.

    Args:
        source: A video file, a folder of images (in the natural order of their names, ``frame_2``
            before ``frame_10``), a single image, or the number of a camera. A text of digits is a
            camera, unless there is a file or folder of that name.
        every: Only every so many-th frame comes.
        start: First frame, counted from 0, or seconds as a text such as ``'12.5s'`` (of videos and
            cameras). By default the first.
        end: The frame behind the last, or seconds. By default all come.
        max_size: Longest side in pixels; larger frames are scaled down to it.

    Returns:
        The frames, to be iterated over; also a context manager.

    Raises:
        UserError: if there is no such source, it cannot be read, or an option does not fit.
    """
    selection = Selection.parse(every=every, start=start, end=end)
    if max_size is not None:
        max_size = whole_number('max_size', max_size, least=1, unit='pixels')
    if isinstance(source, bool):
        raise UserError(f'source must be a path or the number of a camera, got {source}.')
    if isinstance(source, int):
        return CameraSource(source, selection, max_size)
    path = os.fspath(source)
    if not os.path.exists(path):
        if path.isascii() and path.isdigit():
            return CameraSource(int(path), selection, max_size)
        raise UserError(
            f'{path!r} not found: expected a video file, a folder of frames or the number of a '
            'camera.'
        )
    if os.path.isdir(path) or is_still_image(path):
        return FolderSource(path, selection, max_size)
    return VideoSource(path, selection, max_size)
