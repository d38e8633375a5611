"""Lines of text in pictures."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WHITE = (255, 255, 255)


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


@functools.lru_cache(maxsize=8)
def _font(size, bold):
    import matplotlib  # carries the font; imported here because only text needs it

    name = 'fonts/ttf/DejaVuSans-Bold.ttf' if bold else 'fonts/ttf/DejaVuSans.ttf'
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), name)), size)


@functools.lru_cache(maxsize=2048)
def _text_mask(text, size, bold):
    """Renders one line: (h, w) uint8, letters 255; h depends on ``size`` alone."""
    font = _font(size, bold)
    ascent, descent = font.getmetrics()
    picture = Image.new('L', (max(1, round(font.getlength(text))), ascent + descent))
    ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
    return np.asarray(picture)
