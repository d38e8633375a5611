"""Selection of the frames of a source: from where, to where, every N-th."""

from __future__ import annotations

import math
import numbers
import re
from dataclasses import dataclass
from typing import Any

from vispropnet.errors import UserError

_SECONDS = re.compile(r'(\d+(?:\.\d*)?|\.\d+)\s*s')
# A frame this little before a moment counts as being at it, in seconds and in frames.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Moment:
    """A position in a source, in frames or else in seconds from the beginning."""

    option: str  # that gave it
    frames: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, option: str, value: Any) -> Moment:
        """Reads a whole number (also as a text), or a text such as ``'12.5s'``.

        Raises:
            UserError: if it is something else, or negative.
        """
        if isinstance(value, str) and (match := _SECONDS.fullmatch(value.strip())):
            return cls(option, seconds=float(match[1]))
        unit = "frames, counted from 0, or seconds such as '12.5s'"
        return cls(option, frames=whole_number(option, value, least=0, unit=unit))

    def __str__(self) -> str:
        return f'{self.seconds:g}s' if self.frames is None else str(self.frames)

    def reached(self, index: int, seconds: float | None) -> bool:
        """Returns whether a frame is at the moment or after it."""
        if self.frames is not None:
            return index >= self.frames
        return seconds >= self.seconds - _ROUNDING

    def frame(self, rate: float) -> int:
        """Gives the first frame at the moment or after it, at so many frames a second."""
        if self.frames is not None:
            return self.frames
        return math.ceil(self.seconds * rate - _ROUNDING)


@dataclass(frozen=True)
class Selection:
    """The wanted frames of a source."""

    every: int  # step in frames
    start: Moment
    end: Moment | None  # behind the last

    @classmethod
    def parse(cls, every: Any, start: Any, end: Any) -> Selection:
        """Reads the options of that name; None stands for the first and the last frame.

        Raises:
            UserError: for a value that does not fit, or an end that is not behind the start.
        """
        selection = cls(
            every=whole_number('every', every, least=1, unit='frames'),
            start=Moment.parse('start', 0 if start is None else start),
            end=None if end is None else Moment.parse('end', end),
        )
        if selection.end is not None and not (selection.end.frames or selection.end.seconds):
            raise UserError(f'end={selection.end} leaves no frame: expected more than 0.')
        for unit in ('frames', 'seconds'):
            first, last = getattr(selection.start, unit), getattr(selection.end, unit, None)
            if first is not None and last is not None and first >= last:
                raise selection._empty()
        return selection

    def check_rate(self, rate: float | None, what: str) -> None:
        """Checks that there is a frame rate where seconds are given, and that frames are left.

        Args:
            rate: Frames a second of the source, None if unknown.
            what: The source, for messages.
        """
        for moment in (self.start, self.end):
            if moment is not None and moment.seconds is not None and rate is None:
                raise UserError(
                    f'{moment.option}={moment} is in seconds, but {what} has no frame rate: give a '
                    'number of frames.'
                )
        if self.end is not None and rate and self.start.frame(rate) >= self.end.frame(rate):
            raise self._empty()

    def of(self, total: int, rate: float | None = None) -> range:
        """Gives the wanted ones of so many frames; seconds are turned into frames by the rate."""
        start = self.start.frame(rate)
        end = total if self.end is None else min(self.end.frame(rate), total)
        return range(start, max(start, end), self.every)

    def is_over(self, index: int, seconds: float | None) -> bool:
        """Returns whether neither this frame nor a later one is wanted."""
        return self.end is not None and self.end.reached(index, seconds)

    def _empty(self) -> UserError:
        return UserError(f'start={self.start} and end={self.end} leave no frame between them.')


def whole_number(option: str, value: Any, least: int, unit: str) -> int:
    """Reads an option that is an integer, or a text of digits; ``unit`` is for messages.

    Raises:
        UserError: if it is something else, or less than ``least``.
    """
    number = None
    if isinstance(value, str):
        if re.fullmatch(r'\s*[+-]?[0-9]{1,18}\s*', value):
            number = int(value)
    elif isinstance(value, numbers.Integral) and not isinstance(value, bool):
        number = int(value)
    if number is None or number < least:
        raise UserError(f'{option} must be a whole number from {least} up ({unit}), got {value!r}.')
    return number
