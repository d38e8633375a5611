"""What all sources of frames have in common."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vispropnet.text import first_of

_MOST_NAMES = 3


@dataclass(frozen=True)
class SourceFrame:
    """A frame of a source.

    Attributes:
        image: (H, W, 3) uint8, BGR.
        index: Position in the source, counted from 0 over all of its frames.
        name: File name, or the position in eight digits.
    """

    image: np.ndarray
    index: int
    name: str


class FrameSource(abc.ABC):
    """Frames that come one after the other; made by
    :func:`~vispropnet.datasets.frame_sources.open_source`.

    Iterating gives :class:`SourceFrame`. Files can be iterated over again.

    Attributes:
        path: The file or folder; None of a camera.
        name: What to name files after, such as ``clip`` for ``videos/clip.mp4``.
        kind: ``'video'``, ``'folder'`` or ``'camera'``.
        fps: Frames a second of those that come; None where nothing tells.
        length: How many frames will come as far as is known beforehand (of some video formats an
            estimate); None where nothing tells.
    """

    kind: str
    path: str | None = None

    def __init__(
        self, name: str, fps: float | None, length: int | None, max_size: int | None
    ) -> None:
        self.name = name
        self.fps = fps
        self.length = length
        self._max_size = max_size

    @abc.abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]:
        """Gives the frames in order."""

    @abc.abstractmethod
    def notes(self) -> list[str]:
        """Says what a user must hear of what did not come, in sentences; empty if all is well.

        Complete only after the last frame.
        """

    def close(self) -> None:  # noqa: B027  (files are let go of when their iteration ends)
        """Lets go of the source."""

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def scaled_size(width: int, height: int, max_size: int | None) -> tuple[int, int]:
    """Gives the size that a frame is scaled down to.

    Args:
        width: Of the frame, in pixels.
        height: Of the frame, in pixels.
        max_size: Longest side allowed; None allows any.

    Returns:
        Width and height, at least 1 each.
    """
    longest = max(width, height)
    if max_size is None or longest <= max_size:
        return width, height
    return (
        max(1, round(width * max_size / longest)),
        max(1, round(height * max_size / longest)),
    )


def scale_down(image: np.ndarray, max_size: int | None) -> np.ndarray:
    """Scales a frame down to a longest side.

    Args:
        image: (H, W, 3) uint8.
        max_size: Longest side allowed; None allows any.

    Returns:
        The frame itself if it is small enough, else a smaller one.
    """
    height, width = image.shape[:2]
    size = scaled_size(width, height, max_size)
    if size == (width, height):
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def some_of(names: Sequence[str]) -> str:
    """Lists the first names and counts the others.

    Args:
        names: At least one.

    Returns:
        Such as ``a, b, c and 4 more``.
    """
    return first_of(names, _MOST_NAMES)


def quiet_opencv() -> None:
    """Keeps what OpenCV and FFmpeg say of a file off the terminal, for the rest of the process.

    We say what is wrong ourselves. Whoever sets ``OPENCV_LOG_LEVEL`` or ``OPENCV_FFMPEG_LOGLEVEL``
    wants to see it, and does.
    """
    if 'OPENCV_LOG_LEVEL' not in os.environ:
        cv2.setLogLevel(0)
    # OpenCV reads it when the first video is opened.
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
