"""Lines of text in pictures, in a font of the system where the usual one lacks characters."""

from __future__ import annotations

import functools
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vispropnet.errors import UserError
from vispropnet.text import first_of, printable

WHITE = (255, 255, 255)
# Such fonts draw every character as a sign that it is missing, or only in bitmaps of one size.
_NO_LETTERS = ('lastresort', 'adobeblank', 'emoji')
_chosen: list[str] = []  # by use_font
_noted: set[str] = set()


def use_font(path: str | os.PathLike) -> None:
    """Draws characters that the usual font lacks with this one, if it has them.

    Args:
        path: TrueType or OpenType file.

    Raises:
        UserError: if it cannot be read as such a file.
    """
    path = os.fspath(path)
    try:
        ImageFont.truetype(path, 16)
    except OSError as error:
        raise UserError(
            f'font {path} cannot be read ({error}): expected a file such as *.ttf, *.otf or *.ttc.'
        ) from None
    _chosen[:] = [path]
    for cache in (_font_file, _text_mask):
        cache.cache_clear()


def drawable_names(names: Mapping[Any, str]) -> dict[Any, str]:
    """Gives the names of categories as they are drawn: the ids of those that no font can write.

    One note on stderr says so.

    Args:
        names: By id.
    """
    drawn = {
        key: str(key) if _font_file(_needed(str(names[key]))) is None else str(names[key])
        for key in names
    }
    lost = [printable(str(names[key])) for key in names if drawn[key] != str(names[key])]
    note = (
        f'note: no font here has the characters of {first_of(lost, most=3)}: ids are drawn in '
        'their place. Install one, such as Noto Sans CJK, or name its file (--font of '
        'tools/demo_video.py and tools/show_results.py).'
    )
    if lost and note not in _noted and sys.stderr is not None:
        print(note, file=sys.stderr)
        _noted.add(note)
    return drawn


def text_size(text: str, size: int, bold: bool = False) -> tuple[int, int]:
    """Gives (width, height) in pixels of a line that :func:`draw_text` writes."""
    height, width = _text_mask(text, size, bold).shape
    return width, height


def draw_text(
    canvas: np.ndarray,
    text: str,
    place: tuple[int, int],
    size: int,
    color: tuple[int, int, int] = WHITE,
    bold: bool = False,
) -> tuple[int, int]:
    """Writes one line of text into a picture, in place; what lies outside is cut.

    Args:
        canvas: (H, W, 3) uint8, BGR. Changed.
        text: The line.
        place: (x, y) of its upper left corner.
        size: Text size in pixels.
        color: (blue, green, red).
        bold: Takes heavier letters.

    Returns:
        (width, height) in pixels of the line.
    """
    mask = _text_mask(text, size, bold)
    height, width = mask.shape
    x, y = place
    left, top = max(x, 0), max(y, 0)
    region = canvas[top : max(y + height, 0), left : max(x + width, 0)]
    weight = mask[top - y :, left - x :][: region.shape[0], : region.shape[1], None] / 255.0
    region[:] = np.rint(region * (1 - weight) + np.array(color) * weight)
    return width, height


def shortened(text: str, size: int, width: int, bold: bool = False) -> str:
    """Gives a line, or as much of its ends as has room, in ``width`` pixels, around an ellipsis."""
    short, kept = text, len(text)
    while kept and text_size(short, size, bold)[0] > width:
        kept -= 1
        short = text[: (kept + 1) // 2] + '…' + text[len(text) - kept // 2 :]
    return short


def short_names(paths: Sequence[str | os.PathLike]) -> list[str]:
    """Names paths by as many of their last parts as tell them apart; equal ones by the whole."""
    parts = [Path(path).parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ['/'.join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [os.fspath(path) for path in paths]


def _needed(text: str) -> frozenset[int]:
    """Characters that a font must have for a text, those that every font has left out."""
    return frozenset(
        ord(one)
        for one in text
        if not one.isascii()
        and unicodedata.category(one)[0] not in 'CZ'
        and not unicodedata.name(one, '').startswith('VARIATION SELECTOR')
    )


@functools.cache
def _font_file(needed: frozenset[int], bold: bool = False) -> str | None:
    """The first font that has some characters: the usual one, the chosen one, those installed."""
    import matplotlib  # carries the usual font; imported here because only text needs it

    name = 'fonts/ttf/DejaVuSans-Bold.ttf' if bold else 'fonts/ttf/DejaVuSans.ttf'
    usual = str(Path(matplotlib.get_data_path(), name))
    for path in (usual, *_chosen):
        if needed <= _characters(path):
            return path
    from matplotlib.font_manager import findSystemFonts

    installed = sorted(findSystemFonts(), key=lambda path: ('Regular' not in path, path))
    for path in installed:
        letters = needed | set(map(ord, 'Az09#'))
        is_sign = any(one in Path(path).stem.lower() for one in _NO_LETTERS)
        if not is_sign and letters <= _characters(path):
            return path
    return None


@functools.lru_cache(maxsize=4)
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except Exception:  # installed, but damaged or of a kind that it does not read
        return frozenset()


@functools.lru_cache(maxsize=8)
def _font(path, size):
    return ImageFont.truetype(path, size)


@functools.lru_cache(maxsize=2048)
def _text_mask(text, size, bold):
    """Renders one line: (h, w) uint8, letters 255; h depends on ``size`` alone."""
    usual = _font(_font_file(frozenset(), bold), size)
    path = _font_file(_needed(text), bold)
    font = usual if path is None else _font(path, size)
    ascent, descent = usual.getmetrics()
    picture = Image.new('L', (max(1, round(font.getlength(text))), ascent + descent))
    ImageDraw.Draw(picture).text((0, ascent), text, fill=255, font=font, anchor='ls')
    return np.asarray(picture)
