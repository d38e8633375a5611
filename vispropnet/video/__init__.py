"""Video files and folders of frames: reading them as frames, writing MP4."""

from __future__ import annotations

import os

from vispropnet.errors import UserError
from vispropnet.video.folder import FolderSource, is_still_image
from vispropnet.video.selection import Selection, whole_number
from vispropnet.video.source import FrameSource, SourceFrame
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
            before ``frame_10``), or a single image.
        every: Only every N-th frame comes.
        start: The first frame, from 0, or seconds as a text such as ``'12.5s'`` (of videos).
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
    if os.path.isdir(path) or is_still_image(path):
        return FolderSource(path, selection, max_size)
    return VideoSource(path, selection, max_size)
