"""Outlines of masks as polygons, for annotation tools."""

from __future__ import annotations

import cv2
import numpy as np

# In pixels; polygons of blobs with it are drawn as the same pixels, with a fifth fewer points.
_TOLERANCE = 0.5


def outlines_of(mask: np.ndarray) -> list[list[float]]:
    """Traces the parts of a mask along the edges of its pixels.

    A hole is joined to its part's outline by a cut of no width, as polygons without holes have it.
    pycocotools draws the polygons as the mask again.

    Args:
        mask: (H, W) bool or uint8.

    Returns:
        ``[x, y, x, y, ...]`` in pixels for each part, the frame's top left corner at (0, 0).
    """
    # Each pixel as 2x2: contours go through centres of pixels, which then are the quarters beside
    # the edges.
    double = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts: dict[int, np.ndarray] = {}
    holes: list[tuple[int, np.ndarray]] = []
    for number, contour in enumerate(contours):
        outline = _corners(contour[:, 0])
        if len(outline) > 2:
            outline = cv2.approxPolyDP(outline.astype(np.float32), _TOLERANCE, True)[:, 0]
        parent = int(hierarchy[0, number, 3])
        if parent < 0:
            parts[number] = outline
        elif len(outline) > 2:
            holes.append((parent, outline))
    for parent, hole in holes:
        parts[parent] = _joined(parts[parent], hole)
    return [one.ravel().tolist() for one in parts.values() if len(one) > 2]


def _corners(contour: np.ndarray) -> np.ndarray:
    """Moves points (P, 2) of a doubled mask to the corners of pixels, and drops repeated ones."""
    points = np.round((contour + 0.5) / 2).astype(np.float64)
    kept = np.any(points != np.roll(points, 1, axis=0), axis=1)
    points = points[kept]
    # Points on a straight line between their neighbours say nothing.
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _joined(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Joins a hole to an outline where they are nearest."""
    distances = ((outline[:, None] - hole) ** 2).sum(axis=2)
    at, of_hole = np.unravel_index(distances.argmin(), distances.shape)
    around = np.vstack([np.roll(hole, -of_hole, axis=0), hole[of_hole : of_hole + 1]])
    return np.vstack([outline[: at + 1], around, outline[at:]])
