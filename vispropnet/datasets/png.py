"""What the bytes of a PNG say before it is decoded: whether it is complete."""

from __future__ import annotations

PNG_START = b'\x89PNG\r\n\x1a\n'
# Length, kind and checksum stand around the content of a part.
_AROUND = 12


def is_cut_png(content: bytes) -> bool:
    """Says whether a file is a PNG whose parts do not lead to its end mark.

    OpenCV takes as much memory as a part claims to be long, before it looks for it in the file.

    Args:
        content: Of the file.

    Returns:
        False for what is no PNG, too.
    """
    if not content.startswith(PNG_START):
        return False
    position = len(PNG_START)
    while position + _AROUND <= len(content):
        is_last = content.startswith(b'IEND', position + 4)
        position += _AROUND + int.from_bytes(content[position : position + 4], 'big')
        if is_last:
            return position > len(content)
    return True
