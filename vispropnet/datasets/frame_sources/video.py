"""Frames of a video file."""

from __future__ import annotations

import codecs
import math
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from vispropnet.datasets.frame_sources.containers import Structure, structure_of
from vispropnet.datasets.frame_sources.selection import Selection
from vispropnet.datasets.frame_sources.source import (
    FrameSource,
    SourceFrame,
    quiet_opencv,
    scale_down,
)
from vispropnet.errors import UserError

# A damaged part makes as many attempts fail as it has frames; what follows can be read again.
_MOST_FAILURES = 500
# Frames that a decoder drops around them without a word: those it had taken in, but not given yet.
_MOST_DROPPED = 16
# Sound files end this many frames before or behind what they announce.
_COUNT_TOLERANCE = 2
# Where the number of frames is estimated from the duration: how much of it may miss, in seconds and
# as a share. The sound is often a little longer than the pictures.
_TIME_TOLERANCE = (1.0, 0.1)
_HIGHEST_RATE = 1000
_MOST_FRAMES = 10**9
_TEXT_CHARACTERS = 4096
_NO_TEXT = {*range(32), 127} - {*b'\t\n\v\f\r\x1b'}


class VideoSource(FrameSource):
    """Frames of a video file, upright, in the order of showing.

    Frames are counted by reading them: the positions that OpenCV offers to jump to are not exact.
    Should the size change on the way, OpenCV scales the later frames to the size of the first.

    Args:
        path: The file.
        selection: Which frames are wanted.
        max_size: Longest side, in pixels; None leaves frames as they are.

    Raises:
        UserError: if it is no video, cannot be decoded, or ends before the first wanted frame.
    """

    kind = 'video'

    def __init__(self, path: str | os.PathLike, selection: Selection, max_size: int | None) -> None:
        self.path = self._path = os.fspath(path)
        self._what = f'video {self._path}'
        _refuse_what_is_no_video(self._path)
        self._structure = structure_of(self._path)
        reader = _Reader(self._path)
        try:
            if not reader.is_open:
                raise UserError(f'{self._what} cannot be opened: {_reason(self._structure)}.')
            if not reader.grab():
                raise UserError(f'{self._what}: no frame can be decoded (damaged?).')
            rate, announced = reader.rate, reader.announced
        finally:
            reader.release()
        if None not in (announced, rate, self._structure.played):
            played = max(1, round(self._structure.played * rate))
            # A little less is a rounding, or the delay of frames that are coded out of their order.
            announced = played if announced - played > _COUNT_TOLERANCE else announced
        self._rate, self._announced = rate, announced
        self._range = selection.resolve(rate, self._what)
        if announced is not None and self._structure.counts_frames:
            # Files may have a frame more than they tell; the end is found out by reading then.
            self._check_start(announced + _COUNT_TOLERANCE, announced)
        super().__init__(
            name=Path(self._path).stem,
            fps=None if rate is None else rate / selection.every,
            length=None if announced is None else len(self._range.of(announced)),
            max_size=max_size,
        )
        self._notes: list[str] = []

    def __iter__(self) -> Iterator[SourceFrame]:
        self._notes = []
        reader = _Reader(self._path)
        shape, given = None, 0
        try:
            while not self._range.is_over(reader.index + 1):
                if not reader.grab():
                    self._note_end(reader)
                    if given == 0:
                        raise self._nothing_left(reader)
                    return
                # Damage may have made it jump over the end.
                if self._range.is_over(reader.index) or not self._range.wants(reader.index):
                    continue
                image = reader.retrieve()
                if image is None:
                    continue
                shape = shape or image.shape
                if image.shape != shape:
                    raise UserError(
                        f'{self._what}, frame {reader.index}: the image is '
                        f'{image.shape[1]}x{image.shape[0]} pixels, the frames before it are '
                        f'{shape[1]}x{shape[0]}: expected one size.'
                    )
                given += 1
                image = scale_down(image, self._max_size)
                yield SourceFrame(image, reader.index, f'{reader.index:08d}')
            if reader.lost:
                self._notes = [
                    f'{self._what}: {reader.lost} of the first {reader.index + 1} frames are '
                    'damaged and were left out.'
                ]
        finally:
            reader.release()

    def notes(self) -> list[str]:
        """Says how many frames were lost, and where decoding stopped."""
        return list(self._notes)

    def _check_start(self, end: int, total: int) -> None:
        if self._range.start >= end:
            raise UserError(
                f'start={self._range.start} is behind the end of {self._what}: it has {total} '
                'frames, counted from 0.'
            )

    def _nothing_left(self, reader: _Reader) -> UserError:
        """The error for a video of which no wanted frame came."""
        if self._notes:
            return UserError(f'no frame from {self._range.start} on can be read: {self._notes[0]}')
        return UserError(
            f'start={self._range.start} is behind the end of {self._what}: it has '
            f'{reader.index + 1} frames, counted from 0.'
        )

    def _note_end(self, reader: _Reader) -> None:
        """Tells what is lost, the file having ended."""
        structure, announced = self._structure, self._announced
        place = f'decoding stopped after frame {reader.index}'
        if self._rate is not None:
            place += f' ({reader.seconds:.1f} s)'
        cause = ', because the file is cut short' if structure.is_cut else ''
        missing = None if announced is None else announced - reader.given
        counted = structure.counts_frames and missing is not None
        if counted and missing > (0 if structure.is_cut else _COUNT_TOLERANCE):
            if missing <= reader.lost:
                place, cause = 'they are damaged and were left out', ''
            self._notes = [
                f'{self._what}: {missing} of {announced} frames are lost; {place}{cause}.'
            ]
        elif structure.is_cut:
            about = '' if missing is None or missing <= 0 else f' of about {announced} announced'
            self._notes = [f'{self._what}: {reader.given} frames{about} were read; {place}{cause}.']
        elif not counted and self._ends_early(reader):
            self._notes = [
                f'{self._what}: {place}, but the file announces '
                f'{announced / self._rate:.1f} s: its end is damaged, or only its sound goes on.'
            ]
        elif reader.lost:
            self._notes = [
                f'{self._what}: {reader.lost} frames are damaged and were left out; '
                f'{reader.given} were read.'
            ]

    def _ends_early(self, reader: _Reader) -> bool:
        """Whether much of an announced duration is missing."""
        if self._announced is None or self._rate is None:
            return False
        duration = self._announced / self._rate
        seconds, share = _TIME_TOLERANCE
        # Raw streams tell no time; then nothing can be said.
        return 0 < reader.seconds < duration - max(seconds, share * duration)


class _Reader:
    """Reads a file once from the beginning, over damaged parts.

    Attributes:
        is_open: Whether it could be opened.
        rate: Frames a second, None if unknown.
        announced: How many frames the file says it has, None if it does not.
        index: Position of the frame grabbed last, -1 before the first.
        seconds: Its time.
        given: How many frames were grabbed.
        lost: How many frames before it could not be.
    """

    def __init__(self, path: str) -> None:
        quiet_opencv()
        # Absolute: FFmpeg takes what stands before a colon for a protocol.
        self._capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
        self.is_open = self._capture.isOpened()
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= _HIGHEST_RATE else None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.announced = round(count) if 0 < count <= _MOST_FRAMES else None
        self.index, self.seconds = -1, 0.0
        self.given = self.lost = 0
        self._failed, self._is_damaged = 0, False

    def grab(self) -> bool:
        """Goes on to the next frame; False at the end."""
        for _ in range(_MOST_FAILURES):
            if not self._capture.grab():
                self._failed += 1
                continue
            self._is_damaged = self._is_damaged or self._failed > 0
            seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not math.isfinite(seconds):
                seconds = 0.0
            # Behind damage, some come late; raw streams tell no time.
            if not (self._is_damaged and 0 < seconds <= self.seconds):
                self._advance(seconds)
                return True
        return False

    def retrieve(self) -> np.ndarray | None:
        """The frame grabbed last; None if it cannot be converted."""
        good, image = self._capture.retrieve()
        return image if good else None

    def release(self) -> None:
        """Closes the file."""
        self._capture.release()

    def _advance(self, seconds: float) -> None:
        jumped = 0
        if self._failed and self.rate is not None:
            # Decoders hold frames back, so the gap comes later than the failure, if at all.
            jumped = round((seconds - self.seconds) * self.rate) - 1
            jumped = min(max(jumped, 0), self._failed + _MOST_DROPPED)
            self._failed = max(0, self._failed - jumped)
        self.lost += jumped
        self.index += 1 + jumped
        self.seconds = seconds
        self.given += 1


def _refuse_what_is_no_video(path: str) -> None:
    """Raises an error for what FFmpeg had better not be given: it draws texts and follows links."""
    what = f'video {path}'
    if not os.path.isfile(path):
        raise UserError(f'{what} is no regular file.')
    try:
        with open(path, 'rb') as stream:
            start = stream.read(_TEXT_CHARACTERS)
    except OSError as error:
        raise UserError(f'{what} cannot be read: {error.strerror}.') from None
    if not start:
        raise UserError(f'{what} is empty (0 bytes).')
    if _NO_TEXT.isdisjoint(start):
        try:
            codecs.getincrementaldecoder('utf-8')().decode(start)
        except UnicodeDecodeError:
            return
        raise UserError(f'{what} is a text, not a video.')


def _reason(structure: Structure) -> str:
    if not structure.has_index:
        return (
            'it has no index (moov), which such files keep at their end: probably the end is '
            'missing (a copy or a recording that broke off)'
        )
    if not structure.has_pictures:
        return 'it has no pictures, only sound'
    return 'no pictures in it that can be decoded (not a video, only sound, or damaged?)'
