"""Base of the sources of frames."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from vispropnet.positions import evenly


@dataclass(frozen=True)
class SourceFrame:
    """A frame of a source."""

    image: np.ndarray  # (H, W, 3) uint8, BGR
    index: int  # position in the source, counted from 0 over all of its frames
    name: str  # file name, or the position in eight digits
    seconds: float | None = None  # since the source's first frame; None without times


class FrameSource(abc.ABC):
    """Frames that come one after the other; made by :func:`~vispropnet.video.open_source`.

    Iterating gives :class:`SourceFrame`, any number of times.

    Attributes:
        path: The file or folder.
        name: Stem for files made of it, such as ``clip`` for ``videos/clip.mp4``.
        kind: ``'video'``, ``'folder'`` or ``'stack'``, a file of several images.
        fps: Frames a second of those that come, on average; None if unknown.
        length: Number of frames that will come, as far as is known beforehand; None if unknown.
        pixel_aspect: Width of a pixel over its height, as it is to be shown.
        end: Seconds since the first frame when the last is over; None if unknown, or unless the
            end was reached by the last iteration.
    """

    kind: str

    def __init__(
        self,
        path: str,
        name: str,
        fps: float | None,
        length: int | None,
        max_size: int | None,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        self.path, self.name, self.pixel_aspect = path, name, pixel_aspect
        self.fps, self.length = fps, length
        self.end: float | None = None
        self._max_size = max_size

    @abc.abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]:
        """Gives the frames in order."""

    def evenly(self, count: int) -> Iterator[tuple[int, SourceFrame]]:
        """Gives frames spread evenly over those that will come, in order, first and last included.

        The frames before each are read on the way, unless the source can do without.

        Args:
            count: How many, at most; fewer if there are fewer or some cannot be read.

        Yields:
            Their places among those that will come, from 0, and the frames.
        """
        length = sum(1 for _ in self) if self.length is None else self.length
        places = evenly(length, count)
        with contextlib.closing(iter(self)) as frames:
            for place, frame in enumerate(frames):
                if place in places:
                    yield place, frame
                if place >= places[-1]:
                    break

    @abc.abstractmethod
    def notes(self) -> list[str]:
        """Describes what was left out, in sentences; complete only after the last frame."""


def scaled_size(width: int, height: int, max_size: int | None) -> tuple[int, int]:
    """Gives (width, height), at least 1 each, of a frame scaled down to ``max_size``, if larger."""
    longest = max(width, height)
    if max_size is None or longest <= max_size:
        return width, height
    return tuple(max(1, round(side * max_size / longest)) for side in (width, height))


def scale_down(image: np.ndarray, max_size: int | None) -> np.ndarray:
    """Scales an (H, W, 3) uint8 frame down to a longest side; gives itself if small enough."""
    before = image.shape[1::-1]
    size = scaled_size(*before, max_size)
    return image if size == before else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
