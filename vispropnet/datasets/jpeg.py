"""Telling a JPEG that was cut short: decoders fill the rest with grey and say nothing."""

from __future__ import annotations

JPEG_START, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_START_OF_SCAN = 0xDA
_STANDALONE_MARKERS = {0x01, *range(0xD0, 0xD8)}


def is_cut_jpeg(content: bytes) -> bool:
    """Says whether a file is a JPEG without an end.

    The end mark cannot occur in the coded image, but does at the end of a thumbnail in front of it.
    It is wanted in the second half of the file.

    Args:
        content: Of the file.

    Returns:
        False for what is no JPEG, too.
    """
    if not content.startswith(JPEG_START):
        return False
    position = 2
    while content[position : position + 1] == b'\xff':
        marker = content[position + 1] if position + 1 < len(content) else 0
        if marker == _START_OF_SCAN:
            break
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _STANDALONE_MARKERS:
            position += 2
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4], 'big')
    return content.find(_JPEG_END, max(position, len(content) // 2)) < 0
