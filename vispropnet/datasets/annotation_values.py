"""Single values of annotation files: what each must be, and what it means."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from typing import Any

# The longest side of a JPEG.
MAX_SIDE = 65535
# The longest name of a file or folder that file systems take, in bytes.
MAX_NAME = 255
# The range keeps out infinity, what is not a number, and integers that no float can hold.
_LARGEST_NUMBER = 1e15


def is_id(value: Any) -> bool:
    """Says if a value can be an id: an integer of at most 64 bits, and no truth value."""
    return type(value) is int and -(1 << 63) <= value < 1 << 63


def is_number(value: Any) -> bool:
    """Says if a value is a number to calculate with: finite, and not huge."""
    return type(value) in (int, float) and -_LARGEST_NUMBER < value < _LARGEST_NUMBER


def is_area(value: Any) -> bool:
    """Says if a value can be the area of a mask: a number from 0 on."""
    return is_number(value) and value >= 0


def is_box(value: Any) -> bool:
    """Says if a value can be a box ``[x, y, width, height]``."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def is_no_box(value: Any) -> bool:
    """Says if an entry of ``bboxes`` means that there is no box: null, [] or [0, 0, 0, 0]."""
    return value is None or value == [] or (is_box(value) and not any(value))


def is_no_mask(value: Any) -> bool:
    """Says if an entry of ``segmentations`` means that there is no mask: null or []."""
    return value is None or value == []


def read_crowd(annotation: Mapping[str, Any]) -> bool | None:
    """Reads ``iscrowd`` of an entry of ``annotations``.

    Returns:
        False for 0, false, 0.0, null and a missing key; True for 1, true and 1.0; None for anything
        else, which is an error.
    """
    value = annotation.get('iscrowd')
    if value is None:
        return False
    return bool(value) if type(value) in (int, bool, float) and value in (0, 1) else None


def name_fault(name: Any) -> str | None:
    """Finds what is wrong with a file name of a frame, an entry of ``file_names``; or None."""
    if not isinstance(name, str) or not name:
        return 'a file name must be a string that is not empty'
    # Files made on Windows have backslashes, which are read where that finds the file.
    slashed = name.replace('\\', '/')
    inside = posixpath.normpath(slashed).split('/')[0] != '..'
    if not inside or os.path.isabs(slashed) or re.match('[A-Za-z]:/', slashed):
        return 'the file name leads out of the image folder: expected one relative to it'
    try:
        encoded = os.fsencode(slashed)
    except UnicodeEncodeError:
        encoded = b'\0'
    if b'\0' in encoded:
        return 'the file name has characters that no file name can have'
    longest = max(map(len, encoded.split(b'/')))
    if longest > MAX_NAME:
        return f'a part of the file name has {longest} bytes: expected at most {MAX_NAME}'
    return None


def category_fault(name: Any) -> str | None:
    """Says what the name of a category must be, where the value is none; or None."""
    if not isinstance(name, str):
        return 'must be a string'
    try:
        name.encode()
    except UnicodeEncodeError:
        return 'must be text that UTF-8 can hold (no halves of characters)'
    return None
