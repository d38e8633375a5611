"""Video files and folders of frames: reading them as frames, writing MP4."""

from __future__ import annotations

import os

from vispropnet.errors import UserError
from vispropnet.video.folder import FolderSource, is_image
from vispropnet.video.selection import Selection, whole_number
from vispropnet.video.source import FrameSource, SourceFrame
from vispropnet.video.stack import StackSource, pictures_of
from vispropnet.video.video_file import VideoSource

__all__ = ['FrameSource', 'SourceFrame', 'open_source']


def open_source(
    source: str | os.PathLike,
    every: int | str = 1,
    start: int | str | None = None,
    end: int | str | None = None,
    max_size: int | str | None = None,
) -> FrameSource:
    """Opens a video file or a folder of frames, and checks that it can be read.

    Args:
        source: A video file, a folder of images (in the natural order of their names, ``frame_2``
            before ``frame_10``), or an image: animated, of several pages, or a single one.
        every: Only every N-th frame comes; or, of a text such as ``'0.5s'``, the first frame of
            every so many seconds (of sources with times, as all options in seconds).
        start: The first frame, from 0, or seconds as ``'12.5s'``.
        end: The frame behind the last, or seconds. By default all come.
        max_size: Longest side in pixels; larger frames are scaled down to it.

    Raises:
        UserError: if there is no such source, it cannot be read, or an option does not fit.
    """
    selection = Selection.parse(every, start, end)
    if max_size is not None:
        max_size = whole_number('max_size', max_size, least=1, unit='pixels')
    path = os.fspath(source)
    if not os.path.exists(path):
        raise UserError(f'{path!r} not found: expected a video file or a folder of frames.')
    if os.path.isdir(path):
        return FolderSource(path, selection, max_size)
    if not is_image(path):
        return VideoSource(path, selection, max_size)
    pictures = pictures_of(path)
    if pictures.format == 'GIF' or (pictures.format == 'PNG' and len(pictures.places) > 1):
        return VideoSource(path, selection, max_size)  # FFmpeg has their exact times
    if len(pictures.places) > 1:
        return StackSource(path, pictures, selection, max_size)
    return FolderSource(path, selection, max_size)
