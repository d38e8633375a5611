"""What the values in annotation files must be."""

from __future__ import annotations

import os
import posixpath
from typing import Any

# The longest side of a JPEG.
MAX_SIDE = 65535
# The longest name of a file or folder that file systems take, in bytes.
MAX_NAME = 255
# The range keeps out infinity, what is not a number, and integers that no float can hold.
_LARGEST_NUMBER = 1e15


def is_id(value: Any) -> bool:
    """Whether a value can be an id: an integer of at most 64 bits, and no truth value."""
    return type(value) is int and -(1 << 63) <= value < 1 << 63


def is_side(value: Any) -> bool:
    """Whether a value can be the width or height of a frame, in pixels."""
    return type(value) is int and 0 < value <= MAX_SIDE


def is_number(value: Any) -> bool:
    """Whether a value is a number to calculate with: finite, and not huge."""
    return type(value) in (int, float) and -_LARGEST_NUMBER < value < _LARGEST_NUMBER


def is_box(value: Any) -> bool:
    """Whether a value can be a box ``[x, y, width, height]``."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def name_fault(name: Any) -> str | None:
    """Says what is wrong with the file name of a frame.

    Args:
        name: An entry of ``file_names``.

    Returns:
        What is wrong with it, or None.
    """
    if not isinstance(name, str) or not name:
        return 'a file name must be a string that is not empty'
    if leaves_folder(name):
        return 'the file name leads out of the image folder: expected one relative to it'
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        encoded = b'\0'
    if b'\0' in encoded:
        return 'the file name has characters that no file name can have'
    longest = max(map(len, encoded.split(b'/')))
    if longest > MAX_NAME:
        return f'a part of the file name has {longest} bytes: expected at most {MAX_NAME}'
    return None


def category_fault(name: Any) -> str | None:
    """Says what is wrong with the name of a category.

    Args:
        name: Any JSON value.

    Returns:
        What a name must be, where this is none; or None.
    """
    if not isinstance(name, str):
        return 'must be a string'
    try:
        name.encode()
    except UnicodeEncodeError:
        return 'must be text that UTF-8 can hold (no halves of characters)'
    return None


def leaves_folder(name: str) -> bool:
    """Tells file names that do not stay in the image folder.

    Args:
        name: A file name of a frame.

    Returns:
        Whether it is absolute or leads above the folder.
    """
    return os.path.isabs(name) or posixpath.normpath(name).split('/')[0] == '..'
