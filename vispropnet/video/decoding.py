"""Decoding of video files, over damaged parts."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer
from av.stream import Disposition

from vispropnet.errors import UserError

_MOST_READ_ERRORS = 500
_HIGHEST_RATE = 1000
# Frames of H.264 and HEVC are shown at most so many packets after their own.
_MOST_REORDERED = 16
# Decoders hold as many frames back as they have threads.
_MOST_THREADS = 4


class Reading:
    """Reads a file once from the beginning, over damaged parts; closed as a context manager.

    A frame is recognised by its time, which the packet that holds it has too: packets whose frames
    did not come are lost frames.

    Attributes:
        rate: Frames a second as the file announces them, None if unknown; of uneven ones, anything.
        pixel_aspect: Width of a pixel over its height, of the frames as coded.
        has_times: True if the file stores the times at which frames are shown.
        index: Position of the last frame, lost ones counted too; -1 before the first.
        seconds: Its time since the first frame; None if unknown.
        lost: Number of frames before it that are lost.
        is_cut: True if the last packet is incomplete.

    Raises:
        UserError: if the file cannot be opened, or has no pictures.
    """

    def __init__(self, path: str) -> None:
        self._container = _open(path)
        try:
            self._stream = _pictures(self._container, path)
        except UserError:
            self._container.close()
            raise
        self._stream.thread_type = 'AUTO'
        self._stream.thread_count = min(_MOST_THREADS, os.cpu_count() or 1)
        self.rate = sound_rate(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.pixel_aspect = self._stream.sample_aspect_ratio or Fraction(1)
        self.index, self.seconds = -1, None
        self.lost, self.is_cut = 0, False
        # AVI stores only in which slot of an even grid each packet stands (its dts); the times of
        # showing that FFmpeg makes up for it run backwards.
        self.has_times = self._container.format.name != 'avi'
        self._is_damaged = False
        self._waiting: list[int] = []  # heap of the times of packets whose frames did not come yet
        self._first = self._last = None
        # Times that run back so far, a second, begin anew.
        self._restart = round(1 / self._stream.time_base)

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def announced_frames(self) -> int | None:
        """Returns how many frames there are to be shown; None where the file does not say."""
        stream = self._stream
        if not self.has_times:
            # The header counts empty slots too, in which the frame before stays. Without an index
            # there are only the entries of packets that have been read by now.
            entries = stream.index_entries
            is_whole = len(entries) and entries[-1].timestamp >= stream.frames / 2
            return len(entries) if is_whole else None
        if not stream.frames or 'mov' not in self._container.format.name.split(','):
            return stream.frames or None
        # An edit list may leave frames out.
        return sum(not entry.is_discard for entry in stream.index_entries)

    def announced_seconds(self) -> float | None:
        """Returns the duration of the pictures, or else of the whole file; None if unknown."""
        stream = self._stream
        if not self.has_times and stream.frames:
            return float(stream.frames * stream.time_base)
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
        try:  # Matroska, such as 00:01:30.500000000
            hours, minutes, seconds = stream.metadata.get('DURATION', '').split(':')
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        except ValueError:
            duration = self._container.duration
            return None if duration is None else duration / av.time_base

    def frames(self) -> Iterator[av.VideoFrame]:
        """Gives the frames in the order of showing."""
        for packet in self._packets():
            for frame in self._decode(packet):
                if not self._is_late(frame):
                    self._count(frame)
                    yield frame

    def announced_times(self) -> Iterator[float | None]:
        """Gives the times of the frames in the order of showing, from their packets alone.

        Decodes nothing. Seconds since the first frame; None if unknown.
        """
        waiting: list[int] = []
        first = last_dts = seconds = None

        def shown() -> float:
            nonlocal first
            time = heapq.heappop(waiting)
            first = time if first is None else first
            return float((time - first) * self._stream.time_base)

        for packet in self._packets():
            if not packet.size or packet.is_discard:
                continue
            time = self._time_of(packet)
            if time is None:
                seconds = self._later(seconds)
                yield seconds
                continue
            dts = time if packet.dts is None else packet.dts
            if last_dts is not None and last_dts - dts >= self._restart:
                while waiting:
                    seconds = shown()
                    yield seconds
                first = time - round(self._later(seconds) / self._stream.time_base)
            last_dts = dts
            heapq.heappush(waiting, time)
            if len(waiting) > _MOST_REORDERED:
                seconds = shown()
                yield seconds
        while waiting:
            yield shown()

    def _packets(self) -> Iterator[av.Packet]:
        """The packets; the last one is empty and has the decoder give what it holds back."""
        for _ in range(_MOST_READ_ERRORS):
            try:
                yield from self._container.demux(self._stream)
                return
            except (av.FFmpegError, IndexError):  # the latter for a stream that damage makes up
                self._is_damaged = True

    def _decode(self, packet: av.Packet) -> list[av.VideoFrame]:
        time = None
        if packet.size:
            self.is_cut = packet.is_corrupt
            time = None if packet.is_discard else self._time_of(packet)
        if time is not None:
            heapq.heappush(self._waiting, time)
            if not self.has_times and self._first is None:
                self._first = time
        if not packet.is_corrupt:
            try:
                return packet.decode()
            except av.FFmpegError:
                pass
        self._is_damaged = True
        if not self.has_times:
            self.index += 1
            self.lost += 1
            if time is not None:
                self._waiting.remove(time)
                heapq.heapify(self._waiting)
        return []

    def _time_of(self, packet: av.Packet) -> int | None:
        return packet.pts if self.has_times else packet.dts

    def _is_late(self, frame: av.VideoFrame) -> bool:
        """Finds a frame that should have come before the last one, as happens behind damage."""
        if not (self._is_damaged and self.has_times) or None in (frame.pts, self._last):
            return False
        return 0 <= self._last - frame.pts < self._restart

    def _count(self, frame: av.VideoFrame) -> None:
        """Finds the position and the time of the next frame."""
        self.index += 1
        time = frame.pts
        if not self.has_times:
            time = frame.dts
            if self._stream.codec_context.has_b_frames:
                time = self._waiting[0] if self._waiting else None
        if time is None:
            self.seconds = self._later(self.seconds)
            return
        if self._first is None:
            lost = self._waiting[:1] if self._is_damaged else []
            self._first = min([time, *lost])
        elif self._last is not None and self._last - time >= self._restart:
            # Recordings one behind the other.
            self._first = time - round(self._later(self.seconds) / self._stream.time_base)
        while self._waiting and self._waiting[0] <= time:
            if heapq.heappop(self._waiting) == time:
                continue
            # Undamaged packets without a frame: in AVI they repeat the frame before them; elsewhere
            # they need frames in front of the first.
            self.lost += self._is_damaged
            self.index += self._is_damaged or not self.has_times
        self._last = time
        self.seconds = float((time - self._first) * self._stream.time_base)

    def _later(self, seconds: float | None) -> float | None:
        """The time of the next frame where the file does not say it."""
        if self.rate is None:
            return seconds
        return 0.0 if seconds is None else seconds + 1 / self.rate


def sound_rate(rate: float | Fraction) -> float | None:
    """Gives a frame rate, or None for one that no video has."""
    return float(rate) if 0 < rate <= _HIGHEST_RATE else None


def _open(path: str) -> InputContainer:
    try:
        # Absolute: FFmpeg takes what stands before a colon for a protocol.
        return av.open(
            os.path.abspath(path),
            metadata_errors='replace',
            container_options={'protocol_whitelist': 'file'},
        )
    except (av.FFmpegError, OSError) as error:
        with open(path, 'rb') as stream:
            is_mp4 = stream.read(8)[4:] == b'ftyp'
        reason = f'{error.strerror} (not a video, or damaged?)'
        if is_mp4 and isinstance(error, av.InvalidDataError):
            reason = (
                'its index (moov), which such files often keep at their end, is missing or '
                'damaged: probably a copy or a recording that broke off'
            )
        raise UserError(f'video {path} cannot be opened: {reason}.') from None


def _pictures(container: InputContainer, path: str) -> av.VideoStream:
    """The stream of pictures; covers of songs are none."""
    cover = Disposition.attached_pic
    streams = [one for one in container.streams.video if not one.disposition & cover]
    if not streams:
        found = 'only sound' if container.streams.audio else 'nothing that can be shown'
        raise UserError(f'video {path} cannot be opened: it has no pictures, {found}.')
    if streams[0].codec_context is None:
        raise UserError(f'video {path} cannot be opened: there is no decoder for its format.')
    return streams[0]
