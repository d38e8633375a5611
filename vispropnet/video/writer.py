"""MP4 files that play in browsers and on phones, complete whatever happens on the way."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.codec.codec import UnknownCodecError
from av.video.reformatter import VideoReformatter

from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path

_CODEC = 'libx264'
_DEFAULT_FPS = 10.0
_LOWEST_RATE, _HIGHEST_RATE = 0.001, 1000
# Presets were compared on moving textures of 1280x720: "veryfast" takes 1.5 times the work of the
# fastest one and writes a quarter of the bytes; slower ones take twice the work for as many bytes.
# Frames above 3840x2160 take the fastest, which holds no frames back: they would fill gigabytes.
_PRESET, _PRESET_OF_HUGE, _HUGE = 'veryfast', 'ultrafast', 3840 * 2160
_QUALITY = '21'
# The encoder holds back frames for each thread.
_MOST_THREADS = 8
# Times are exact to at least this part of a second.
_FINEST_TIME = 90_000
_FINEST_ASPECT = 1000
_BT709 = 1
# The encoder takes even sizes, and players do not show the tiniest.
_SHORTEST_SIDE = 16
# Must stay free on the disk, so that the file can be completed; an uncompressed frame comes to it,
# for the frames that the encoder holds back.
_FREE_MIB = 16


class VideoWriter:
    """Encodes frames as H.264 in an MP4; to be used as a context manager.

    The file appears when the block ends, also when it ends by an exception or Ctrl-C, with the
    frames written until then. Without a frame there is no file. Odd sides get one more row or
    column, the shortest sides more, by repeating the edge. The encoder works in threads of its own.

    Attributes:
        frames: Number of frames in the file.
        end: Time when the last frame is over, counted as those of :meth:`write`; None, the default,
            shows it for as long as a frame takes at the video's rate.

    Args:
        path: The file, ``*.mp4``. Missing parent folders are made.
        fps: Frames a second, of frames without times and of the last one; None takes 10.
        pixel_aspect: Width of a pixel over its height, for the player.

    Raises:
        UserError: if the path or the rate does not fit, or the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: float | None = None,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        self._path, self._pixel_aspect = Path(path), pixel_aspect
        if self._path.suffix.lower() != '.mp4':
            raise UserError(f'video {path} must be named .mp4.')
        fps = _DEFAULT_FPS if fps is None else float(fps)
        if not 0 < fps <= _HIGHEST_RATE:
            raise UserError(
                f'fps of video {path} must be above 0 and at most {_HIGHEST_RATE}, got {fps:g}.'
            )
        self._rate = Fraction(max(fps, _LOWEST_RATE)).limit_denominator(10_000)
        # A multiple of the rate, so that the times of its frames are exact.
        numerator = self._rate.numerator
        self._ticks = numerator * -(-_FINEST_TIME // numerator)  # a second
        self.frames = 0
        self.end: float | None = None
        self._encoder: _Encoder | None = None

    def __enter__(self) -> VideoWriter:
        self._file = self._open()
        self._temporary = self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> bool | None:
        return self._file.__exit__(*error)

    def write(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """Adds a frame.

        Args:
            frame: (H, W, 3) uint8, BGR, of one size in all calls. It is copied.
            seconds: Time to show it at, counted from any moment: the first frame is shown at once.
                By default it follows the frame before it at the video's rate.

        Raises:
            UserError: if the disk is nearly full, or the frame cannot be encoded or written.
            ValueError: if it is no such frame.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise ValueError(f'frame must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}')
        free = shutil.disk_usage(self._temporary.parent).free / 2**20
        needed = _FREE_MIB + frame.nbytes / 2**20
        if free < needed:
            kept = f'writing stopped after {self.frames} frames, which are in the file'
            raise UserError(
                f'the disk is nearly full: {free:.1f} MiB are free for video {self._path}, of '
                f'{needed:.1f} needed; {kept if self.frames else "nothing was written"}.'
            )
        with self._explained(f'frame {self.frames}'):
            if self._encoder is None:
                self._encoder = _Encoder(
                    self._temporary, frame.shape, self._rate, self._ticks, self._pixel_aspect
                )
            self._encoder.write(frame, seconds)
        self.frames += 1

    @contextlib.contextmanager
    def _open(self) -> Iterator[Path]:
        """Gives the file to write to, completes it and gives it its name."""
        failure = None
        with contextlib.suppress(_NoFrameError), atomic_path(self._path) as temporary:
            try:
                yield temporary
            except BaseException as error:
                failure = error
            if self._encoder is None:
                raise _NoFrameError
            frames, self.frames = self.frames, 0
            try:
                with self._explained('the end'):
                    self._encoder.finish(self.end)
            except UserError as error:
                raise failure if isinstance(failure, UserError) else error from None
            self.frames = frames
        if failure is not None:
            raise failure

    @contextlib.contextmanager
    def _explained(self, place: str) -> Iterator[None]:
        try:
            yield
        except UnknownCodecError:
            raise UserError(
                f'video {self._path} cannot be written: this PyAV has no encoder for H.264 '
                f'({_CODEC}); the one of PyPI has.'
            ) from None
        except (av.FFmpegError, OSError) as error:
            raise UserError(
                f'video {self._path} cannot be written, {place}: {error.strerror} (is the disk '
                'full, a quota reached, or the frame too large?).'
            ) from None


class _NoFrameError(Exception):
    """There is nothing to be kept."""


class _Encoder:
    """Encodes frames of shape (H, W, 3) into a file, of so many frames and ticks a second."""

    def __init__(
        self, path: Path, shape: tuple[int, ...], rate: Fraction, ticks: int, aspect: Fraction
    ) -> None:
        self._shape = shape
        self._ticks, self._step = ticks, int(ticks / rate)
        self._start: float | None = None
        self._last = -self._step
        # The packets of the last frame wait for how long it is shown.
        self._held: list[av.Packet] = []
        self._first: int | None = None  # when the first packet is decoded, in ticks
        self._reformatter = VideoReformatter()
        self._container = av.open(os.fspath(path), 'w', options={'movflags': 'faststart'})
        height, width = shape[:2]
        options = dict(preset=_PRESET_OF_HUGE if height * width > _HUGE else _PRESET, crf=_QUALITY)
        self._stream = stream = self._container.add_stream(_CODEC, rate, options=options)
        stream.width, stream.height, stream.pix_fmt = _padded(width), _padded(height), 'yuv420p'
        context = stream.codec_context
        context.time_base = stream.time_base = Fraction(1, ticks)
        context.sample_aspect_ratio = aspect.limit_denominator(_FINEST_ASPECT)
        context.thread_count = min(_MOST_THREADS, os.cpu_count() or 1)
        context.color_primaries = context.color_trc = context.colorspace = _BT709

    def write(self, frame: np.ndarray, seconds: float | None) -> None:
        """Encodes a frame, as :meth:`VideoWriter.write` has it."""
        if frame.shape != self._shape:
            raise ValueError(f'frame has shape {frame.shape}, those before it have {self._shape}')
        time = self._last + self._step
        if seconds is not None:
            self._start = seconds if self._start is None else self._start
            time = max(round((seconds - self._start) * self._ticks), self._last + 1)
        below, right = self._stream.height - frame.shape[0], self._stream.width - frame.shape[1]
        if below or right:
            frame = cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE)
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(frame, 'bgr24'),
            format='yuv420p',
            dst_colorspace='ITU709',
            dst_color_range='MPEG',
            threads=1,
        )
        picture.pts, picture.time_base = time, Fraction(1, self._ticks)
        self._last = time
        self._container.mux(self._held)
        self._held = self._stream.encode(picture)
        if self._first is None and self._held:
            self._first = self._held[0].dts

    def finish(self, end: float | None) -> None:
        """Encodes what is held back and completes the file, which lasts to ``end``."""
        try:
            packets = [*self._held, *self._stream.encode()]
            if packets:
                self._last_stays(packets, end)
            self._container.mux(packets)
        finally:
            self._container.close()

    def _last_stays(self, packets: list[av.Packet], end: float | None) -> None:
        """Gives the last frame its time, by the packets that are shown and decoded last."""
        over = 0
        if end is not None and self._start is not None:
            over = round((end - self._start) * self._ticks)
        if over <= self._last:
            over = self._last + self._step
        first = packets[0].dts if self._first is None else self._first
        shown, decoded = max(packets, key=lambda packet: packet.pts), packets[-1]
        shown.duration = over - shown.pts
        decoded.duration = over - (decoded.dts - first)


def _padded(side: int) -> int:
    return max(_SHORTEST_SIDE, side + side % 2)
