"""Shapes of CVAT between the keyframes of a track, as CVAT interpolates them.

Boxes move in a straight line and turn the shorter way. Vertices of polygons are matched by their
places along the outlines, in parts of the length: each of the earlier keyframe with the nearest of
the later one, then those of the later one that are left with the nearest of the earlier. Matched
vertices move in straight lines; of several that share one, those that come too close are dropped.
Masks are not interpolated. A shape stays until the next keyframe or, of the last one, the end of
the video, unless it is outside. Source: TrackManager of CVAT, ``get_interpolated_shapes``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Shape:
    """A shape on a frame."""

    kind: str  # 'box', 'ellipse', 'polygon' or 'mask'
    frame: int
    outside: bool
    # (P, 2) vertices; of a box two corners; of an ellipse the centre and the two radii.
    points: np.ndarray
    degrees: float = 0.0
    mask: np.ndarray | None = None  # (h, w) uint8, of which the points are the box


def all_shapes(keyframes: list[Shape], total: int) -> Iterator[Shape]:
    """Yields the shapes that are visible, of all frames.

    Args:
        keyframes: Of one track and one kind, in the order of frames, each once.
        total: Frames of the video.
    """
    for shape, following in itertools.pairwise([*keyframes, None]):
        if shape.outside:
            continue
        yield shape
        if shape.kind == 'mask':
            continue
        end = following or replace(shape, frame=total)
        span = end.frame - shape.frame
        between = _matched(shape, end) if span > 1 else None
        for step in range(1, span):
            yield replace(
                shape,
                frame=shape.frame + step,
                points=between(step / span),
                degrees=_turned(shape.degrees, end.degrees, step / span),
            )


def _turned(first: float, last: float, part: float) -> float:
    return (first + ((last - first + 180) % 360 - 180) * part) % 360


def _matched(first: Shape, last: Shape):
    """Gives a function from the part of the way, 0 to 1, to the points there."""
    if first.kind != 'polygon' or np.array_equal(first.points, last.points):
        return lambda part: first.points + (last.points - first.points) * part
    pairs = _pairs(first.points, last.points)
    lefts, rights = (np.array(side) for side in zip(*pairs, strict=True))
    closed = [np.vstack([one.points, one.points[:1]]) for one in (first, last)]
    start, way = closed[0][lefts], closed[1][rights] - closed[0][lefts]

    def at(part: float) -> np.ndarray:
        return _thinned(start + way * part, pairs, *closed)[:-1]

    return at


def _places(closed: np.ndarray) -> np.ndarray:
    """Gives the place of each vertex along a closed outline, from 0 to 1."""
    upto = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    return upto / max(upto[-1], 1e-9)


def _pairs(first: np.ndarray, last: np.ndarray) -> list[tuple[int, int]]:
    """Matches the vertices of two closed outlines, the first vertex again at the end."""
    places = [_places(np.vstack([points, points[:1]])) for points in (first, last)]
    distances = np.abs(places[0][:, None] - places[1])
    pairs = list(enumerate(distances.argmin(axis=1).tolist()))
    left_over = set(range(len(places[1]))) - {right for _, right in pairs}
    pairs += [(int(distances[:, right].argmin()), right) for right in left_over]
    return sorted(pairs)


def _thinned(
    points: np.ndarray, pairs: list[tuple[int, int]], first: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Drops vertices that come too close to the one before, of runs that share a vertex.

    Too close is less than half of the mean distance of the run's vertices where they are apart.
    """
    fans = Counter(left for left, _ in pairs)

    def run_of(index: int) -> tuple[bool, int]:
        left, right = pairs[index]
        return (True, left) if fans[left] > 1 else (False, right)

    kept: list[np.ndarray] = []
    for (is_fan, _), some in itertools.groupby(range(len(pairs)), run_of):
        run = list(some)
        if len(run) == 1:
            kept.append(points[run[0]])
            continue
        outline, side = (last, 1) if is_fan else (first, 0)
        part = outline[pairs[run[0]][side] : pairs[run[-1]][side] + 1]
        least = np.hypot(*np.diff(part, axis=0).T).sum() / (2 * len(part))
        kept += _spaced(points[run], least)
    return np.array(kept)


def _spaced(points: np.ndarray, least: float) -> list[np.ndarray]:
    """Keeps the ends, and between them vertices with a distance from the one kept before."""
    kept = [points[0]]
    for point in points[1:-1]:
        if np.hypot(*(point - kept[-1])) >= least:
            kept.append(point)
    kept.append(points[-1])
    is_short = len(kept) == 2 and np.hypot(*(kept[1] - kept[0])) < least
    return [(kept[0] + kept[1]) / 2] if is_short else kept
