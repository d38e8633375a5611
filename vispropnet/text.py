"""Wording of messages: values, counts and long lists."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def first_of(items: Iterable[Any], most: int, separator: str = ', ') -> str:
    """Lists the first items and counts the others: ``a, b, c and 4 more``.

    Args:
        items: What to list.
        most: How many are listed.
        separator: Stands between two items. With a line break in it, the count is a line too.
    """
    texts = list(map(str, items))
    listed, more = separator.join(texts[:most]), len(texts) - most
    if more <= 0:
        return listed
    return f'{listed}{separator if chr(10) in separator else " "}and {more} more'


def counted(number: int, noun: str) -> str:
    """Writes a number with its noun, in the plural if not 1: ``1 frame``, ``12 frames``."""
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'


def shown(value: Any) -> str:
    """Writes a JSON value from a file for a message, cut to at most 80 characters."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def printable(text: str) -> str:
    """Escapes line breaks, control characters and the like; gives one line."""
    return ''.join(
        one if one.isprintable() else one.encode('unicode_escape').decode('ascii') for one in text
    )
