"""Size of a JPEG and a missing end, found without decoding it."""

from __future__ import annotations

import struct
from typing import NamedTuple

JPEG_START, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_START_OF_SCAN = 0xDA
# The first and the last are no markers: what follows a coded 0xFF, and a fill byte.
_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xD8), 0xFF}
# Those between them define tables.
_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SIDES = struct.Struct('>HH')


class JpegLook(NamedTuple):
    """Size and completeness of a JPEG.

    Attributes:
        size: Width and height as coded, in pixels, before a turn that its EXIF part may ask for;
            None if no size stands before the coded image.
        is_cut: Whether it has no end.
    """

    size: tuple[int, int] | None
    is_cut: bool


def look_at_jpeg(content: bytes) -> JpegLook | None:
    """Looks at a JPEG without decoding it.

    The end mark cannot occur in the coded image, but does at the end of a thumbnail in front of it.
    It is wanted in the second half of the file. Decoders fill the rest of a JPEG without an end
    with grey and say nothing.

    Args:
        content: Content of the file.

    Returns:
        Its size, and whether it has no end; None for what is no JPEG.
    """
    if not content.startswith(JPEG_START):
        return None
    position, size, last = 2, None, len(content) - 4
    while position <= last:
        if content[position] != 0xFF:
            # Decoders pass over what stands between two parts.
            position = content.find(b'\xff', position)
            if position < 0:
                position = len(content)
            continue
        marker = content[position + 1]
        if marker == _START_OF_SCAN:
            break
        if marker in _WITHOUT_LENGTH:
            # A fill byte may be followed by the marker itself.
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAME_MARKERS and position + 9 <= len(content):
            height, width = _SIDES.unpack_from(content, position + 5)
            size = width, height
            break
        # A length counts itself; one that does not is damaged, and must not stand still here.
        position += 2 + max(content[position + 2] << 8 | content[position + 3], 2)
    # From the end, where it stands in all sound files.
    is_cut = content.rfind(_JPEG_END, max(position, len(content) // 2)) < 0
    return JpegLook(size, is_cut)
