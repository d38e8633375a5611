"""Frames of a camera: always the newest, however slow they are dealt with."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from vispropnet.datasets.frame_sources.selection import Moment, Selection
from vispropnet.datasets.frame_sources.source import (
    FrameSource,
    SourceFrame,
    quiet_opencv,
    scale_down,
)
from vispropnet.errors import UserError

# Cameras miss a frame now and then; so many in a row and it was pulled out.
_MOST_FAILURES = 30
_PAUSE_AFTER_FAILURE = 0.02  # seconds
_HIGHEST_RATE = 1000


class CameraSource(FrameSource):
    """Frames of a camera; those that come while one is dealt with are passed over.

    Positions count what the camera gave since the iteration began. Seconds are of the clock.

    Args:
        number: Of the camera, from 0.
        selection: Which frames are wanted.
        max_size: Longest side, in pixels; None leaves frames as they are.

    Raises:
        UserError: if there is no such camera, or it gives no frame.
    """

    kind = 'camera'

    def __init__(self, number: int, selection: Selection, max_size: int | None) -> None:
        quiet_opencv()
        if number < 0:
            raise UserError(f'camera {number} does not exist: cameras are counted from 0.')
        self._what = f'camera {number}'
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened() or not self._capture.read()[0]:
            self._capture.release()
            raise UserError(
                f'{self._what} cannot be opened: not plugged in, used by another program, or no '
                'permission to use it?'
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        fps = rate / selection.every if 0 < rate <= _HIGHEST_RATE else None
        super().__init__(name=f'camera{number}', fps=fps, length=None, max_size=max_size)
        self._selection = selection
        self._newest: _Newest | None = None
        self._stopped_at: int | None = None

    def __iter__(self) -> Iterator[SourceFrame]:
        self.close_thread()
        selection, every = self._selection, self._selection.every
        self._stopped_at = None
        newest = self._newest = _Newest(self._capture)
        began = time.monotonic()
        due = -1
        try:
            while (taken := newest.take(at_least=due)) is not None:
                image, index = taken
                elapsed = time.monotonic() - began
                if selection.end is not None and _reached(selection.end, index, elapsed):
                    return
                if selection.start is not None and not _reached(selection.start, index, elapsed):
                    due = index + 1
                    continue
                due = index + every
                yield SourceFrame(scale_down(image, self._max_size), index, f'{index:08d}')
            if newest.failed:
                self._stopped_at = newest.count
        finally:
            newest.stop()

    def notes(self) -> list[str]:
        """Says when the camera stopped by itself."""
        if self._stopped_at is None:
            return []
        return [f'{self._what} gave no more frames after {self._stopped_at}: pulled out?']

    def close_thread(self) -> None:
        """Ends the reading of an iteration that is under way."""
        if self._newest is not None:
            self._newest.stop()
            self._newest = None

    def close(self) -> None:
        """Lets go of the camera."""
        self.close_thread()
        self._capture.release()


class _Newest:
    """Reads a camera in a thread of its own and keeps the newest frame.

    Args:
        capture: An open camera; belongs to the thread until it is stopped.
    """

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self.count = 0
        self.failed = False
        self._capture = capture
        self._image: np.ndarray | None = None
        self._error: BaseException | None = None
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name='camera', daemon=True)
        self._thread.start()

    def take(self, at_least: int) -> tuple[np.ndarray, int] | None:
        """Waits for a frame from a position on; None when none will come."""
        with self._changed:
            while not self._over and (self._image is None or self.count - 1 < at_least):
                self._changed.wait()
            if self._error is not None:
                raise self._error
            image, self._image = self._image, None
            # The last frame of a camera that was pulled out is still shown.
            if image is None or self.count - 1 < at_least:
                return None
            return image, self.count - 1

    def stop(self) -> None:
        """Ends the thread; the frame it waits for may come first."""
        with self._changed:
            self._over = True
        self._thread.join()

    def _read(self) -> None:
        failures = 0
        try:
            while not self._over and failures < _MOST_FAILURES:
                good, image = self._capture.read()
                if not good:
                    failures += 1
                    time.sleep(_PAUSE_AFTER_FAILURE)
                    continue
                failures = 0
                with self._changed:
                    self._image = image
                    self.count += 1
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self.failed = failures >= _MOST_FAILURES
                self._over = True
                self._changed.notify_all()


def _reached(moment: Moment, index: int, elapsed: float) -> bool:
    if moment.frames is not None:
        return index >= moment.frames
    return elapsed >= moment.seconds
