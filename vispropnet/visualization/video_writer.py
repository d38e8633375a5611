"""Videos written in the background, playable whatever happens on the way."""

from __future__ import annotations

import math
import os
import queue
import shutil
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

try:
    import resource
except ImportError:  # Windows
    resource = None

import cv2
import numpy as np

from vispropnet.datasets.frame_sources.source import quiet_opencv
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import check_folder
from vispropnet.fileio import atomic_path

# OpenCV's wheels bring no encoder for H.264.
_FOURCC = {'vp9': 'vp09', 'mpeg4': 'mp4v'}
_AUTO = 'auto'
# Above, VP9 takes seconds and gigabytes for a frame.
_MOST_PIXELS_IN_VP9 = 2560 * 1440
_DEFAULT_FPS = 10.0
_RATES = (0.01, 1000.0)
# MPEG-4 tells times as whole numbers of 16 bits; two decimals fit for rates up to 655.
_MPEG4_EXACT_RATES = 65.0
# Encoders take even sizes, and players do not show the tiniest.
_SHORTEST_SIDE = 16
_MOST_WAITING, _WAITING_BYTES = 8, 256 << 20
# What must stay free on the disk, so that the file can be completed: the index, and what the
# encoder holds back, which is up to this many frames.
_FREE_BYTES = 16 << 20
_HELD_BACK = 64
_PATIENCE = 0.2  # seconds between looks at whether the encoder is alive


class VideoWriter:
    """Encodes frames into an MP4 in a thread of its own; to be used as a context manager.

    The file appears when the block ends, also when it ends by an exception or Ctrl-C, with what was
    written until then. Without a frame there is no file. Odd sides get one more row or column, the
    shortest sides more, by repeating the edge.

    Attributes:
        codec: The one that is used.
        frames: How many frames were encoded.

    Args:
        path: The file, ``*.mp4``. Missing parent folders are made.
        fps: Frames a second; None takes 10.
        codec: ``'vp9'`` plays in browsers too; ``'mpeg4'`` is many times faster to write. Without
            an encoder for VP9, MPEG-4 is written. ``'auto'`` is VP9 up to 2560x1440 pixels, and
            MPEG-4 above. :meth:`notes` tells what it came to.

    Raises:
        UserError: if the path, the rate or the codec does not fit, or the folder cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike, fps: float | None = None, codec: str = _AUTO
    ) -> None:
        self._path = Path(path)
        if self._path.suffix.lower() != '.mp4':
            raise UserError(f'video {path} must be named .mp4.')
        if codec not in (_AUTO, *_FOURCC):
            raise UserError(f'codec must be one of {", ".join((_AUTO, *_FOURCC))}, got {codec!r}.')
        fps = _DEFAULT_FPS if fps is None else float(fps)
        if not (math.isfinite(fps) and fps > 0):
            raise UserError(f'fps of video {path} must be a number above 0, got {fps}.')
        if self._path.is_dir():
            raise UserError(f'cannot write {path}: it is a folder, expected the path of a file.')
        check_folder(self._path)
        _check_space(self._path, frames=0, size=0)
        self._fps = min(max(fps, _RATES[0]), _RATES[1])
        self.codec = codec
        self.frames = 0
        self._shape: tuple[int, ...] | None = None
        self._notes: list[str] = []
        self._encoder: _Encoder | None = None
        if self._fps != fps:
            self._notes.append(
                f'video {path} plays {self._fps:g} frames a second instead of {fps:g}: expected '
                f'{_RATES[0]:g} to {_RATES[1]:g}.'
            )

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame; it is copied, and encoded in the background.

        Args:
            frame: (H, W, 3) uint8, BGR, of one size in all calls.

        Raises:
            UserError: if the disk is nearly full, or there is no encoder for this size.
            ValueError: if it is no such frame.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise ValueError(f'frame must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}')
        if self._encoder is None:
            self._start(frame.shape)
        if frame.shape != self._shape:
            raise ValueError(f'frame has shape {frame.shape}, those before it have {self._shape}')
        if not self._encoder.put(_padded(frame)):
            raise self._encoder.error

    def notes(self) -> list[str]:
        """Says what is not as it was asked for, in sentences."""
        return list(self._notes)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        encoder = self._encoder
        if encoder is None:
            return
        try:
            encoder.finish()
            self.frames = encoder.frames
            fault = _fault(encoder.path, self.frames)
        except BaseException:
            _abandon(self._file)
            raise
        if fault is None:
            self._file.__exit__(None, None, None)  # gives it its name
        else:
            _abandon(self._file)
            self.frames = 0
        # Errors of the block itself go on their way.
        if error is not None and error is not encoder.error:
            self._notes += [] if fault is None else [f'video {self._path} was not kept: {fault}.']
        elif encoder.error is not None and (fault is None or encoder.frames == 0):
            raise encoder.error
        elif fault is not None:
            cause = '' if encoder.error is None else f' First error: {encoder.error}'
            raise UserError(f'video {self._path} cannot be written: {fault}.{cause}')

    def _start(self, shape: tuple[int, ...]) -> None:
        """Opens the file for frames of a shape."""
        quiet_opencv()
        height, width = (_padded_side(side) for side in shape[:2])
        if self.codec == _AUTO:
            self.codec = 'vp9' if height * width <= _MOST_PIXELS_IN_VP9 else 'mpeg4'
            if self.codec == 'mpeg4':
                self._notes.append(
                    f'video {self._path} is in MPEG-4, which browsers do not play: VP9 takes very '
                    f'long for {width}x{height} pixels (smaller frames, or the codec vp9, do it).'
                )
        file = atomic_path(self._path)
        temporary = file.__enter__()
        writer = _open(temporary, self.codec, self._fps, (width, height))
        if writer is None and self.codec != 'mpeg4':
            self._notes.append(
                f'video {self._path} is in MPEG-4, which browsers do not play: this OpenCV cannot '
                f'encode {width}x{height} pixels in {self.codec}.'
            )
            self.codec = 'mpeg4'
            writer = _open(temporary, self.codec, self._fps, (width, height))
        if writer is None:
            _abandon(file)
            raise UserError(
                f'video {self._path} cannot be written: this OpenCV cannot encode '
                f'{width}x{height} pixels at {self._fps:g} frames a second.'
            )
        waiting = max(1, min(_MOST_WAITING, _WAITING_BYTES // (3 * height * width)))
        self._file, self._shape = file, shape
        self._encoder = _Encoder(writer, temporary, self._path, waiting)


class _Encoder:
    """The thread that encodes, and the frames that wait for it.

    Attributes:
        path: What is written to.
        frames: How many frames were encoded.
        error: What ended the thread early.

    Args:
        writer: Open; belongs to the thread.
        path: What it writes to.
        final: What the file will be called.
        waiting: How many frames may wait.
    """

    def __init__(self, writer: cv2.VideoWriter, path: Path, final: Path, waiting: int) -> None:
        self.path = path
        self.frames = 0
        self.error: BaseException | None = None
        self._final = final
        self._writer = writer
        self._waiting: queue.Queue[np.ndarray | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._encode, name='video-writer', daemon=True)
        self._thread.start()

    def put(self, frame: np.ndarray | None) -> bool:
        """Hands a frame over, None after the last; False if the thread has ended by an error."""
        while self.error is None:
            try:
                self._waiting.put(frame, timeout=_PATIENCE)
                return True
            except queue.Full:
                continue
        return False

    def finish(self) -> None:
        """Encodes what waits and completes the file."""
        self.put(None)
        self._thread.join()

    def _encode(self) -> None:
        try:
            while (frame := self._waiting.get()) is not None:
                _check_space(self._final, self.frames, os.path.getsize(self.path))
                self._writer.write(frame)
                self.frames += 1
        except BaseException as error:
            self.error = error
        finally:
            self._writer.release()


def _open(path: Path, codec: str, fps: float, size: tuple[int, int]) -> cv2.VideoWriter | None:
    if codec == 'mpeg4' and fps > _MPEG4_EXACT_RATES:
        fps = round(fps, 2)
    fourcc = cv2.VideoWriter_fourcc(*_FOURCC[codec])
    writer = cv2.VideoWriter(os.fspath(path), cv2.CAP_FFMPEG, fourcc, fps, size)
    return writer if writer.isOpened() else None


def _abandon(file: AbstractContextManager[Path]) -> None:
    """Takes an unfinished file away."""
    error = RuntimeError('not finished')
    file.__exit__(RuntimeError, error, None)


def _check_space(path: Path, frames: int, size: int) -> None:
    """Raises an error while there is still room to complete a file of so many frames and bytes."""
    needed = _FREE_BYTES + _HELD_BACK * size // max(frames, 1)
    on_disk, allowed = shutil.disk_usage(path.parent).free, _largest_file() - size
    if min(on_disk, allowed) >= needed:
        return
    cause = 'the disk is nearly full'
    if allowed < on_disk:
        cause = 'the system limits the size of files (ulimit -f)'
    kept = (
        f'writing stopped after {frames} frames, which are in the file'
        if frames
        else 'nothing was written'
    )
    raise UserError(
        f'{cause}: {min(on_disk, allowed) / 2**20:.1f} MiB are free for video {path}, expected at '
        f'least {needed / 2**20:.1f}; {kept}.'
    )


def _largest_file() -> float:
    """How large the system lets files of this process become, in bytes."""
    if resource is None:
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return math.inf if limit == resource.RLIM_INFINITY else limit


def _fault(path: Path, frames: int) -> str | None:
    """Says what is wrong with a file; OpenCV tells of no write that failed."""
    capture = cv2.VideoCapture(os.fspath(path), cv2.CAP_FFMPEG)
    found = round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    if found == frames and frames > 0:
        return None
    return (
        f'{found} of {frames} frames are in the file (is the disk full, or a quota or a limit on '
        'the size of files reached?)'
    )


def _padded_side(length: int) -> int:
    return max(_SHORTEST_SIDE, length + length % 2)


def _padded(frame: np.ndarray) -> np.ndarray:
    """A copy of a size that encoders take."""
    height, width = frame.shape[:2]
    below, right = _padded_side(height) - height, _padded_side(width) - width
    return cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE)
