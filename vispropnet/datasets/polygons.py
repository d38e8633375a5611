"""Masks given as polygons, which the YouTube-VIS form allows beside run lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycocotools import mask as mask_utils

from vispropnet.datasets.annotation_values import is_number
from vispropnet.text import shown


def polygon_fault(polygons: Any, video: Mapping[str, Any]) -> str | None:
    """Finds what is wrong with a list of polygons in a video of known size; or None.

    Far out of the frame lie polygons of frames of another size, which would be cut in silence.
    """
    height, width = video.get('height'), video.get('width')
    if height is None or width is None:
        return "polygons take the video's 'height' and 'width', which the file does not say."
    for polygon in polygons:
        sound = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
        if not sound or not all(map(is_number, polygon)):
            wanted = '[x, y, x, y, ...] of at least 3 points'
            return f'a polygon must be {wanted}, in a list of polygons, found {shown(polygon)}.'
        if min(polygon) >= 0 and max(polygon) <= 1:
            return f'the polygon is in fractions of the frame: expected pixels, found {polygon[:4]}'
        for side, ends in ((width, polygon[::2]), (height, polygon[1::2])):
            if min(ends) < -side / 2 or max(ends) > 1.5 * side:
                text = f'the polygon reaches from {min(ends)} to {max(ends)}, far out of the frame'
                return f'{text}: the video is {width}x{height}.'
    return None


def draw_polygons(polygons: list[list[float]], video: Mapping[str, Any]) -> dict[str, Any]:
    """Makes one compressed RLE of polygons without a fault, as pycocotools does."""
    height, width = video['height'], video['width']
    rle = mask_utils.merge(mask_utils.frPyObjects(polygons, height, width))
    return {'size': [height, width], 'counts': rle['counts'].decode()}
