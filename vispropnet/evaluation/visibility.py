"""How many objects are found in the frames that show only a part of them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from vispropnet.evaluation.overlaps import Tracks

# From this IoU on, in a frame, a track finds the object.
_FOUND_IOU = 0.5
# Upper ends of the parts, as shares of an object's largest area in the video.
_ENDS = (0.25, 0.5, 0.75, 1.0)


def found_by_visibility(tracks: Tracks) -> list[dict[str, Any]]:
    """Counts the frames in which objects are found, by how much of them is visible.

    How much is visible is the area of an object's mask by its largest in the video, so it means
    little where objects come closer. An object has one track, that of its category which overlaps
    it best over the whole video, and is found in a frame where that has an IoU of at least 0.5
    with it. Crowds do not count.

    Args:
        tracks: Measured with ``frame_by_frame``.

    Returns:
        For each part, in rising order: ``above`` and ``up_to``, shares of the largest area, the
        ``frames`` that show as much of an object, those in which it is ``found``, and ``share``,
        None where there are no frames.

    Raises:
        ValueError: if ``tracks`` was measured without ``frame_by_frame``.
    """
    if tracks.frames is None:
        raise ValueError('tracks must be measured with frame_by_frame=True.')
    truth, rows_of = tracks.truth, defaultdict(list)
    for row in range(len(tracks.score)):
        rows_of[int(tracks.video[row]), int(tracks.category[row])].append(row)
    counts = np.zeros((2, len(_ENDS)), np.int64)
    for number, video in enumerate(truth.videos):
        for at, row in enumerate(video.objects.tolist()):
            areas = video.areas[at]
            if truth.crowd[row] or not areas.any():
                continue
            part = np.searchsorted(_ENDS, areas / areas.max())
            found = np.zeros(len(areas), bool)
            candidates = rows_of[number, int(truth.category[row])]
            if candidates:
                best = max(candidates, key=lambda one: tracks.ious[one][at])
                common, own = tracks.frames[best][0][at], tracks.frames[best][1]
                found = common / np.maximum(areas + own - common, 1) >= _FOUND_IOU
            for line, frames in zip(counts, (areas > 0, (areas > 0) & found), strict=True):
                line += np.bincount(part[frames], minlength=len(_ENDS))
    return [
        dict(
            above=above,
            up_to=up_to,
            frames=int(frames),
            found=int(found),
            share=float(found / frames) if frames else None,
        )
        for above, up_to, frames, found in zip((0.0, *_ENDS), _ENDS, *counts, strict=False)
    ]


def visibility_lines(parts: list[dict[str, Any]], name: str) -> list[str]:
    """Returns the lines of a table of :func:`found_by_visibility`."""
    lines = [f'frames in which {name} finds objects, by how much of them is visible']
    lines.append(f'{"visible":>14}{"frames":>8}{"found":>8}{"share":>8}')
    for one in parts:
        span = f'{100 * one["above"]:.0f} to {100 * one["up_to"]:.0f} %'
        share = '-' if one['share'] is None else f'{one["share"]:.3f}'
        lines.append(f'{span:>14}{one["frames"]:>8}{one["found"]:>8}{share:>8}')
    return lines
