"""Which frames of a source are wanted: from where, to where, every so many-th."""

from __future__ import annotations

import contextlib
import math
import operator
import re
from dataclasses import dataclass
from typing import Any

from vispropnet.errors import UserError

_SECONDS = re.compile(r'(\d+(?:\.\d*)?|\.\d+)\s*s')
# Frames that begin this little (in frames) before a moment count as beginning at it.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Moment:
    """A position in a source, in frames or in seconds.

    Attributes:
        option: Name of the option that gave it.
        frames: Frames from the beginning, or None.
        seconds: Seconds from the beginning, or None.
    """

    option: str
    frames: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, option: str, value: Any) -> Moment:
        """Reads an option.

        Args:
            option: Its name, for messages.
            value: A whole number (also as a text), or a text such as ``'12.5s'``.

        Raises:
            UserError: if it is something else, or negative.
        """
        if isinstance(value, str):
            match = _SECONDS.fullmatch(value.strip())
            if match:
                return cls(option, seconds=float(match[1]))
        unit = "frames, counted from 0, or seconds such as '12.5s'"
        return cls(option, frames=whole_number(option, value, least=0, unit=unit))

    def __str__(self) -> str:
        return f'{self.seconds:g}s' if self.frames is None else str(self.frames)

    def frame(self, fps: float | None, what: str) -> int:
        """Gives the first frame that begins at the moment or after it.

        Args:
            fps: Frames a second of the source, None if unknown.
            what: The source, for messages.

        Raises:
            UserError: if it is in seconds and there is no frame rate.
        """
        if self.frames is not None:
            return self.frames
        if fps is None:
            raise UserError(
                f'{self.option}={self} is in seconds, but {what} has no frame rate: give a number '
                'of frames.'
            )
        return math.ceil(self.seconds * fps - _ROUNDING)


@dataclass(frozen=True)
class FrameRange:
    """The wanted frames by their positions, like a range whose end may be open.

    Attributes:
        start: First frame.
        end: The frame behind the last, or None.
        every: Step.
    """

    start: int
    end: int | None
    every: int

    def wants(self, index: int) -> bool:
        """Whether a frame that is not behind the end is wanted."""
        return index >= self.start and (index - self.start) % self.every == 0

    def is_over(self, index: int) -> bool:
        """Whether neither this frame nor a later one is wanted."""
        return self.end is not None and index >= self.end

    def of(self, total: int) -> range:
        """The wanted ones of so many frames."""
        end = total if self.end is None else min(self.end, total)
        return range(self.start, max(self.start, end), self.every)


@dataclass(frozen=True)
class Selection:
    """Which frames are wanted, before a frame rate is known.

    Attributes:
        every: Step in frames.
        start: First moment, or None.
        end: The moment behind the last, or None.
    """

    every: int = 1
    start: Moment | None = None
    end: Moment | None = None

    @classmethod
    def parse(cls, every: Any = 1, start: Any = None, end: Any = None) -> Selection:
        """Reads the options of that name.

        Raises:
            UserError: for a value that does not fit, or an end that is not behind the start.
        """
        selection = cls(
            every=whole_number('every', every, least=1, unit='frames'),
            start=None if start is None else Moment.parse('start', start),
            end=None if end is None else Moment.parse('end', end),
        )
        if selection.end is not None and (selection.end.frames or selection.end.seconds or 0) <= 0:
            raise UserError(f'end={selection.end} leaves no frame: expected more than 0.')
        begin, end = selection.start, selection.end
        for unit in ('frames', 'seconds'):
            one, other = getattr(begin, unit, None), getattr(end, unit, None)
            if one is not None and other is not None and one >= other:
                raise _nothing_between(begin, end)
        return selection

    def resolve(self, fps: float | None, what: str) -> FrameRange:
        """Gives the range in frames.

        Args:
            fps: Frames a second of the source, None if unknown.
            what: The source, for messages.

        Raises:
            UserError: if seconds are given and there is no frame rate, or nothing is left.
        """
        start = 0 if self.start is None else self.start.frame(fps, what)
        end = None if self.end is None else self.end.frame(fps, what)
        if end is not None and start >= end:
            raise _nothing_between(self.start, self.end)
        return FrameRange(start, end, self.every)


def whole_number(option: str, value: Any, least: int, unit: str) -> int:
    """Reads a whole number.

    Args:
        option: Name of the option, for messages.
        value: An integer, or a text of digits.
        least: Smallest one allowed.
        unit: What it counts, for messages.

    Raises:
        UserError: if it is something else.
    """
    number = None
    if isinstance(value, str):
        if re.fullmatch(r'\s*[+-]?[0-9]{1,18}\s*', value):
            number = int(value)
    elif not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            number = operator.index(value)
    if number is None or number < least:
        raise UserError(f'{option} must be a whole number from {least} up ({unit}), got {value!r}.')
    return number


def _nothing_between(start: Moment | None, end: Moment | None) -> UserError:
    return UserError(f'start={start or 0} and end={end} leave no frame between them.')
