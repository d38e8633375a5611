"""Selection of the frames of a source: from where, to where, and in which steps."""

from __future__ import annotations

import math
import numbers
import re
from dataclasses import dataclass
from typing import Any

from vispropnet.errors import UserError

_SECONDS = re.compile(r'(\d+(?:\.\d*)?|\.\d+)\s*s')
# A frame this many seconds before a moment counts as being at it.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Amount:
    """A position in a source, or a step, in frames or else in seconds; positions count from 0."""

    option: str  # that gave it
    frames: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, option: str, value: Any, least: int, unit: str) -> Amount:
        """Reads a whole number (also as a text), or a text such as ``'12.5s'``.

        Raises:
            UserError: if it is something else, less than ``least`` frames, or 0 s where that is 1.
        """
        if isinstance(value, str) and (match := _SECONDS.fullmatch(value.strip())):
            seconds = float(match[1])
            if seconds > 0 or not least:
                return cls(option, seconds=seconds)
        return cls(option, frames=whole_number(option, value, least, unit))

    def __str__(self) -> str:
        return f'{self.seconds:g}s' if self.frames is None else str(self.frames)

    def reached(self, index: int, seconds: float | None) -> bool:
        """Returns whether a frame is at the position or after it."""
        if self.frames is not None:
            return index >= self.frames
        return seconds >= self.seconds - _ROUNDING


@dataclass(frozen=True)
class Selection:
    """The wanted frames of a source."""

    every: Amount
    start: Amount
    end: Amount | None  # behind the last

    @classmethod
    def parse(cls, every: Any, start: Any, end: Any) -> Selection:
        """Reads the options of that name; None stands for the first and the last frame.

        Raises:
            UserError: for a value that does not fit, or an end that is not behind the start.
        """
        unit = "frames, counted from 0, or seconds such as '12.5s'"
        selection = cls(
            every=Amount.parse('every', every, 1, "frames, or seconds such as '0.5s'"),
            start=Amount.parse('start', 0 if start is None else start, 0, unit),
            end=None if end is None else Amount.parse('end', end, 0, unit),
        )
        if selection.end is not None and not (selection.end.frames or selection.end.seconds):
            raise UserError(f'end={selection.end} leaves no frame: expected more than 0.')
        for unit in ('frames', 'seconds'):
            first, last = getattr(selection.start, unit), getattr(selection.end, unit, None)
            if first is not None and last is not None and first >= last:
                raise selection.empty()
        return selection

    @property
    def in_seconds(self) -> Amount | None:
        """The first amount that is in seconds; None if all are in frames."""
        given = (self.every, self.start, self.end)
        return next((one for one in given if one is not None and one.seconds is not None), None)

    def check_times(self, what: str) -> None:
        """Refuses seconds, for a source without times; ``what`` names it in the message."""
        if (amount := self.in_seconds) is not None:
            raise UserError(
                f'{amount.option}={amount} is in seconds, but {what} has no frame rate: give a '
                'number of frames.'
            )

    def of(self, total: int) -> range:
        """Gives the wanted ones of so many frames, where all amounts are in frames."""
        end = total if self.end is None else min(self.end.frames, total)
        return range(self.start.frames, max(self.start.frames, end), self.every.frames)

    def is_over(self, index: int, seconds: float | None) -> bool:
        """Returns whether neither this frame nor a later one is wanted."""
        return self.end is not None and self.end.reached(index, seconds)

    def empty(self) -> UserError:
        """Gives the error for a start and an end without a frame between them."""
        return UserError(f'start={self.start} and end={self.end} leave no frame between them.')


class Picker:
    """Picks the wanted frames out of those that come in order, by their own times.

    Steps count from the start: its number or moment, or else the first frame after it. Of the
    frames of one step in seconds the first is taken.
    """

    def __init__(self, selection: Selection) -> None:
        self._start, self._every = selection.start, selection.every
        self._origin: float | None = None
        self._step = -1

    @property
    def started(self) -> bool:
        """Whether the start was reached."""
        return self._origin is not None

    def takes(self, index: int, seconds: float | None) -> bool:
        """Returns whether the next frame is wanted."""
        by_frames = self._every.frames is not None
        if self._origin is None:
            if not self._start.reached(index, seconds):
                return False
            origin = self._start.frames if by_frames else self._start.seconds
            # From frame 0 on, time is that of the first frame that is left.
            self._origin = (index if by_frames else seconds) if origin is None else origin
        if by_frames:
            return (index - self._origin) % self._every.frames == 0
        step = math.floor((seconds - self._origin + _ROUNDING) / self._every.seconds)
        is_new, self._step = step > self._step, max(step, self._step)
        return is_new


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
