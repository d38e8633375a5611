"""What a video file's own structure tells: whether it is whole, and how many frames to expect.

OpenCV says nothing of a file that was cut short; its end then looks like any other.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MATROSKA_START, _MATROSKA_SEGMENT = b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67'
_MP4_STARTS = (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip')
_NESTING_BOXES = (b'trak', b'mdia', b'edts')
_LARGEST_INDEX = 1 << 30  # bytes


@dataclass(frozen=True)
class Structure:
    """What is known of a file.

    Attributes:
        counts_frames: Whether it tells how many frames it has; otherwise their number can only be
            estimated.
        is_cut: Whether it says that more should follow behind its end.
        has_index: False for an MP4 without the index that nothing can be played without.
        has_pictures: False for an MP4 whose tracks are all of other kinds.
        played: Seconds of the pictures that are to be shown, where there is a list of them: less
            than all where a video was trimmed without coding it anew.
    """

    counts_frames: bool = False
    is_cut: bool = False
    has_index: bool = True
    has_pictures: bool = True
    played: float | None = None


def structure_of(path: str | os.PathLike) -> Structure:
    """Reads the structure of an MP4, AVI, Matroska or WebM file.

    Args:
        path: The file.

    Returns:
        What is known; of other formats, and where the structure is damaged, nothing.
    """
    with open(path, 'rb') as stream:
        start = stream.read(12)
        size = os.fstat(stream.fileno()).st_size
        try:
            if start[4:8] in _MP4_STARTS:
                return _mp4(stream, size)
            if start[:4] == b'RIFF' and start[8:] == b'AVI ':
                return Structure(counts_frames=True, is_cut=_avi_end(stream, size) > size)
            if start[:4] == _MATROSKA_START:
                return Structure(is_cut=_matroska_end(stream) > size)
        except (struct.error, IndexError, ValueError, ZeroDivisionError):
            pass  # damaged
    return Structure()


def _mp4(stream: BinaryIO, size: int) -> Structure:
    position, index = 0, None
    while position + 8 <= size:
        stream.seek(position)
        length, kind = struct.unpack('>I4s', stream.read(8))
        header = 8
        if length == 1:
            header, length = 16, struct.unpack('>Q', stream.read(8))[0]
        elif length == 0:
            length = size - position
        if length < header:
            raise ValueError('a box shorter than its header')
        if kind == b'moov' and position + length <= min(size, position + _LARGEST_INDEX):
            index = stream.read(length - header)
        position += length
    is_cut = position > size
    if index is None:
        return Structure(counts_frames=True, is_cut=is_cut, has_index=False)
    movie_scale = 0
    for kind, content in _boxes(index):
        if kind == b'mvhd':  # its long version has longer dates in front
            movie_scale = struct.unpack_from('>I', content, 20 if content[0] == 1 else 12)[0]
        elif kind == b'trak':
            parts = dict(_boxes(content, nested=True))
            if parts.get(b'hdlr', b'')[8:12] == b'vide':
                units = _played(parts[b'elst']) if b'elst' in parts else 0
                # Fragmented files leave the duration open.
                played = units / movie_scale if units else None
                return Structure(counts_frames=True, is_cut=is_cut, played=played)
    return Structure(counts_frames=True, is_cut=is_cut, has_pictures=False)


def _boxes(content: bytes, nested: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes that a box is made of; with those inside them if ``nested``."""
    position = 0
    while position + 8 <= len(content):
        length, kind = struct.unpack_from('>I4s', content, position)
        if length < 8:
            raise ValueError('a box shorter than its header')
        inside = content[position + 8 : position + length]
        if nested and kind in _NESTING_BOXES:
            yield from _boxes(inside, nested=True)
        else:
            yield kind, inside
        position += length


def _played(content: bytes) -> int:
    """Duration, in units of the movie, of what a list of edits plays."""
    entry = struct.Struct('>QqI' if content[0] == 1 else '>IiI')
    count = struct.unpack_from('>I', content, 4)[0]
    entries = (entry.unpack_from(content, 8 + number * entry.size) for number in range(count))
    return sum(duration for duration, media_time, _ in entries if media_time >= 0)


def _avi_end(stream: BinaryIO, size: int) -> int:
    """Where the last part of an AVI ends; large ones have several parts."""
    position = 0
    while position + 8 <= size:
        stream.seek(position)
        kind, length = struct.unpack('<4sI', stream.read(8))
        if kind != b'RIFF' or length == 0:  # something appended; a recording that was not closed
            break
        position += 8 + length + length % 2
    # The padding of the last part is often left out.
    return position - 1 if position == size + 1 else position


def _matroska_end(stream: BinaryIO) -> int:
    """Where the contents of a Matroska file end; 0 where it does not tell, as of live ones."""
    stream.seek(4)
    stream.seek(_matroska_number(stream)[0], os.SEEK_CUR)
    if stream.read(4) != _MATROSKA_SEGMENT:
        return 0
    length, is_known = _matroska_number(stream)
    return stream.tell() + length if is_known else 0


def _matroska_number(stream: BinaryIO) -> tuple[int, bool]:
    """A number whose first bits tell how many bytes it has; all ones stand for 'not known'."""
    first = stream.read(1)[0]
    more = 8 - first.bit_length()
    if more > 7:
        raise ValueError('no number')
    bits = 7 * (more + 1)
    number = int.from_bytes(bytes([first]) + stream.read(more), 'big') & ((1 << bits) - 1)
    return number, number != (1 << bits) - 1
