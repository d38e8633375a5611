"""Frames found on disk by the file names of an annotation file."""

from __future__ import annotations

import os
from collections.abc import Iterator


def frame_path(folder: str | os.PathLike, name: str) -> str:
    """Joins the image folder and a file name; backslashes are slashes where that finds the file."""
    path = os.path.join(folder, name)
    if '\\' in name and not os.path.lexists(path):
        slashed = os.path.join(folder, name.replace('\\', '/'))
        return slashed if os.path.lexists(slashed) else path
    return path


def find_elsewhere(folder: str | os.PathLike, name: str) -> str | None:
    """Looks for a missing frame near by.

    Returns:
        Advice: the image folder with which the name is right, or what to change of the names; None
        if the frame is nowhere near.
    """
    parts = name.replace('\\', '/').split('/')
    for other in _folders_near(os.path.abspath(folder)):
        if os.path.isfile(os.path.join(other, *parts)):
            return (
                f'with {other} as image folder they are found (data_prefix.img '
                'of the data set, --images of tools)'
            )
    for count in range(1, len(parts)):
        if os.path.isfile(os.path.join(folder, *parts[count:])):
            extra = '/'.join(parts[:count])
            return f'they are found without {extra}/ at the beginning of the names: take it off'
    head, tail = os.path.split(os.path.join(folder, *parts))
    stem = os.path.splitext(tail)[0].lower()
    alike = [one for one in _names_in(head) if os.path.splitext(one)[0].lower() == stem]
    return f'there is {min(alike)} in place of {tail}: mend the names' if alike else None


def _folders_near(folder: str) -> Iterator[str]:
    """The three folders above, then those inside."""
    above = folder
    for _ in range(3):
        above = os.path.dirname(above)
        yield above
    yield from (os.path.join(folder, one) for one in _names_in(folder))


def _names_in(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
