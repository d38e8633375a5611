"""Shapes as annotation tools write them, drawn as masks; what is wrong with them is reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.converting.interface import RLE
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.polygons import draw_polygons, polygon_fault
from vispropnet.datasets.rle import examine_rles

# Points of a polygon that stands for an ellipse.
_ELLIPSE_POINTS = 64


class Drawing:
    """Draws shapes in frames of one size.

    Args:
        size: Height and width, pixels.
        report: Takes what is wrong.
    """

    def __init__(self, size: tuple[int, int], report: Report) -> None:
        self.height, self.width = size
        self._frame = {'id': 0, 'height': size[0], 'width': size[1]}
        self._report = report

    def polygons(self, polygons: Sequence[Sequence[float]], place: dict[str, Any]) -> RLE | None:
        """Draws the polygons ``[x, y, x, y, ...]`` of one object, as pycocotools does.

        Returns:
            The mask; None, and reported, if there is none to be drawn.
        """
        given = [list(map(_plain, one)) if isinstance(one, list) else one for one in polygons]
        if (fault := polygon_fault(given, self._frame)) is not None:
            self._report.error('polygon', fault.rstrip('.'), **place)
            return None
        ends = np.concatenate([np.reshape(one, (-1, 2)) for one in given])
        low, high = ends.min(axis=0), ends.max(axis=0)
        # Half a pixel is a matter of what stands for a pixel: its centre or its corner.
        if min(low) < -1 or high[0] > self.width + 1 or high[1] > self.height + 1:
            text = (
                f'the polygon reaches out of the frame, from {_point(low)} to {_point(high)} in '
                f'{self.width}x{self.height}: cut'
            )
            self._report.warn('outside the frame', text, **place)
        return self._seen(draw_polygons(given, self._frame), place)

    def rle(self, mask: Any, place: dict[str, Any], may_be_empty: bool = False) -> RLE | None:
        """Checks an RLE, compressed or not; see :meth:`polygons`.

        With ``may_be_empty``, as an object that is not visible may have one without pixels, that is
        not reported.
        """
        rles, areas, faults = examine_rles([mask], [self._frame])
        if faults:
            self._report.error('mask', faults[0].replace('video 0', 'the frame'), **place)
            return None
        if may_be_empty and not areas[0]:
            return None
        return self._seen(rles[0], place, int(areas[0]))

    def segmentation(self, value: Any, place: dict[str, Any]) -> RLE | None:
        """Draws what ``segmentation`` of a COCO style file has: polygons or an RLE."""
        if isinstance(value, list) and value:
            return self.polygons(value, place)
        if value in (None, []):
            self._report.warn('zero area', 'the object has no mask here: left out', **place)
            return None
        return self.rle(value, place)

    def array(self, mask: np.ndarray, left: int, top: int, place: dict[str, Any]) -> RLE | None:
        """Puts an (h, w) mask at a place of the frame; see :meth:`polygons`."""
        full = np.zeros((self.height, self.width), np.uint8, order='F')
        low_y, low_x = max(top, 0), max(left, 0)
        part = mask[low_y - top : self.height - top, low_x - left : self.width - left]
        if part.shape != mask.shape:
            text = 'the mask reaches out of the frame: cut'
            self._report.warn('outside the frame', text, **place)
        full[low_y : low_y + part.shape[0], low_x : low_x + part.shape[1]] = part
        rle = mask_utils.encode(full)
        rle = {'size': list(full.shape), 'counts': rle['counts'].decode('ascii')}
        return self._seen(rle, place)

    def _seen(self, rle: RLE, place: dict[str, Any], area: int | None = None) -> RLE | None:
        if area or (area is None and mask_utils.area(rle)):
            return rle
        text = 'the shape covers no pixel of the frame: left out'
        self._report.warn('zero area', text, **place)
        return None


def box_polygon(
    left: float, top: float, right: float, bottom: float, degrees: float = 0.0
) -> list[float]:
    """Gives the corners of a box that is turned clockwise about its centre, as on screens."""
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)
    if degrees:
        angle, centre = np.radians(degrees), corners.mean(axis=0)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corners = (corners - centre) @ turn + centre
    return corners.ravel().tolist()


def ellipse_polygon(
    x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0
) -> list[float]:
    """Gives points of an ellipse that is turned clockwise about its centre, as on screens."""
    at = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)
    angle = np.radians(degrees)
    along, across = radius_x * np.cos(at), radius_y * np.sin(at)
    xs = x + along * np.cos(angle) - across * np.sin(angle)
    ys = y + along * np.sin(angle) + across * np.cos(angle)
    return np.stack([xs, ys], axis=1).ravel().tolist()


def _plain(value: Any) -> Any:
    """Makes numbers of numpy plain ones, which the rules ask for."""
    return value.item() if isinstance(value, np.generic) else value


def _point(values: np.ndarray) -> str:
    return f'({values[0]:g}, {values[1]:g})'
