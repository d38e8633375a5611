"""Frames of a video file."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from vispropnet.errors import UserError
from vispropnet.video.decoding import Reading, sound_rate
from vispropnet.video.selection import Picker, Selection
from vispropnet.video.source import FrameSource, SourceFrame, scale_down

# Files of which all packets were read announce up to so many frames more than there are.
_COUNT_TOLERANCE = 2
# Where only the duration is known, so much of it may miss: sound is often longer than pictures.
_SECONDS_TOLERANCE, _SHARE_TOLERANCE = 1.0, 0.1
_TEXT_CHARACTERS = 4096
_NO_TEXT = {*range(32), 127} - {*b'\t\n\v\f\r\x1b'}
# By the angle, counter-clockwise, that turns a frame upright.
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


class VideoSource(FrameSource):
    """Frames of a video file, upright, in the order and at the times of showing.

    Frames are counted by reading them from the beginning. Should the size change on the way, the
    later frames are scaled to the size of the first.

    Raises:
        UserError: if it is no video, cannot be decoded, or ends before the first wanted frame.
    """

    kind = 'video'

    def __init__(self, path: str, selection: Selection, max_size: int | None) -> None:
        self._what = f'video {path}'
        self._selection = selection
        self._notes: list[str] = []
        _refuse_what_is_no_video(path)
        with Reading(path) as reading:
            frame = next(reading.frames(), None)
            if frame is None:
                raise UserError(f'{self._what}: no frame can be decoded (damaged?).')
            rate, self._announced = reading.rate, reading.announced_frames()
            self._duration = reading.announced_seconds()
            aspect = reading.pixel_aspect
            if reading.seconds is None:
                selection.check_times(self._what)
        start = selection.start
        if self._announced and (start.frames or 0) >= self._announced:
            raise self._behind_the_end(self._announced)
        if self._announced is None or selection.in_seconds:
            length, fps = self._look_ahead(path, rate)
        else:
            length = len(selection.of(self._announced))
            fps = None if rate is None else rate / selection.every.frames
        # If the file announces more than there is, reading will say what is lost.
        if not length and self._duration and (start.seconds or 0) >= self._duration:
            raise self._behind_the_end(self._announced)
        if frame.rotation % 180:
            aspect = 1 / aspect
        super().__init__(path, Path(path).stem, fps, length, max_size, aspect)

    def _look_ahead(self, path: str, rate: float | None) -> tuple[int, float | None]:
        """Number of wanted frames, and how many come a second, by the times of the packets."""
        selection, picker = self._selection, Picker(self._selection)
        count, first, last = 0, None, None
        with Reading(path) as reading:
            for index, seconds in enumerate(reading.announced_times()):
                if selection.is_over(index, seconds):
                    if not count:
                        raise selection.empty()
                    break
                if picker.takes(index, seconds):
                    first = seconds if first is None else first
                    count, last = count + 1, seconds
        if last is not None and last > first:
            return count, sound_rate((count - 1) / (last - first))
        return count, rate

    def __iter__(self) -> Iterator[SourceFrame]:
        selection, self._notes, self.end = self._selection, [], None
        picker, size, reformatter = Picker(selection), None, VideoReformatter()
        with Reading(self.path) as reading:
            for frame in reading.frames():
                index, seconds = reading.index, reading.seconds
                if selection.is_over(index, seconds):
                    break
                size = size or (frame.width, frame.height)
                if picker.takes(index, seconds):
                    image = scale_down(_upright(frame, size, reformatter), self._max_size)
                    yield SourceFrame(image, index, f'{index:08d}', seconds)
                if selection.end is not None and index + 1 == selection.end.frames:
                    break
            else:
                self._notes = self._missing(reading)
                if picker.started and not self._notes and reading.seconds is not None:
                    self.end = reading.seconds + float((frame.duration or 0) * frame.time_base)
                    if self._announced is not None:
                        self.end = max(self.end, self._duration or 0)
                if not picker.started and self._notes:
                    raise UserError(
                        f'no frame from {selection.start} on can be read: {self._notes[0]}'
                    )
                if not picker.started:
                    raise self._behind_the_end(reading.index + 1)
            if reading.lost and not self._notes:
                lost = f'{reading.lost} of {reading.index + 1} frames are damaged'
                self._notes = [f'{self._what}: {lost} and were left out.']

    def notes(self) -> list[str]:
        """Reports how many frames were lost, and where decoding stopped."""
        return list(self._notes)

    def _behind_the_end(self, total: int | None) -> UserError:
        extent = f'lasts {self._duration:.1f} s' if total is None else f'has {total} frames'
        return UserError(
            f'start={self._selection.start} is behind the end of {self._what}: it {extent}, '
            'counted from 0.'
        )

    def _missing(self, reading: Reading) -> list[str]:
        """A note if the file ended before the end that it announces."""
        rate = reading.rate
        place = f'decoding stopped after frame {reading.index}'
        if reading.seconds is not None:
            place += f' ({reading.seconds:.1f} s)'
        if self._announced is not None:
            missing = self._announced - reading.index - 1
            if missing <= (0 if reading.is_cut else _COUNT_TOLERANCE):
                return []
            lost = f'{reading.lost + missing} of {self._announced} frames are lost'
            if reading.is_cut or reading.has_times:  # otherwise they may be missing anywhere
                lost += f'; {place}'
            reason = ', because the file is cut short' if reading.is_cut else ''
            return [f'{self._what}: {lost}{reason}.']
        if None in (self._duration, rate, reading.seconds):
            return []
        slack = max(_SECONDS_TOLERANCE, _SHARE_TOLERANCE * self._duration)
        if not reading.has_times:  # the duration is that of the pictures
            slack = _COUNT_TOLERANCE / rate
        if self._duration - reading.seconds - 1 / rate <= slack:
            return []
        return [
            f'{self._what}: {place}, but the file announces {self._duration:.1f} s: it is cut '
            'short, its end is damaged, or its last frame stays, or only its sound goes on.'
        ]


def _refuse_what_is_no_video(path: str) -> None:
    """Raises an error for what FFmpeg must not be given: it draws texts and follows links."""
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


def _upright(
    frame: av.VideoFrame, size: tuple[int, int], reformatter: VideoReformatter
) -> np.ndarray:
    """The frame as (H, W, 3) uint8 BGR, of (width, height) before it is turned upright."""
    frame_bgr = reformatter.reformat(frame, *size, 'bgr24', threads=1)
    image = np.ascontiguousarray(frame_bgr.to_ndarray())
    turn = _TURNS.get(frame.rotation % 360)
    return image if turn is None else cv2.rotate(image, turn)
