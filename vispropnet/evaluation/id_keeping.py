"""Whether objects keep their ids over the frames in which they are hidden.

Average precision and HOTA mix this with how well objects are found; here only objects count that
were found before they were hidden.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from vispropnet.evaluation.overlaps import Tracks

# From this IoU on, in a frame, a track is the object.
_SAME_IOU = 0.5
# Longer gaps are counted together, as few objects have them.
_TOGETHER = ((1, 1), (2, 2), (3, 3), (4, 5), (6, 9), (10, None))


def ids_after_gaps(tracks: Tracks, score_threshold: float = 0.3) -> list[dict[str, Any]]:
    """Counts the gaps of objects over which their tracks went on, by their length.

    A gap is a run of frames without a mask of an object between frames with one. In a frame, an
    object is the track that overlaps it best, of an IoU of at least 0.5 and of any category. Before
    the gap that of the last such frame counts, after it that of the first one until the object is
    hidden again.

    Args:
        tracks: Measured with ``frame_by_frame``.
        score_threshold: Tracks with a lower score are left out.

    Returns:
        By length of the gaps, those that occur: ``shortest`` and ``longest`` (None for any), the
        number of ``gaps`` of objects that were found before, of those ``kept`` (the same track
        after), ``changed`` (another track) and ``lost`` (none), and the share ``kept_share``.

    Raises:
        ValueError: if ``tracks`` was measured without ``frame_by_frame``.
    """
    if tracks.frames is None:
        raise ValueError('tracks must be measured with frame_by_frame=True.')
    rows_of = defaultdict(list)
    for row in np.flatnonzero(tracks.score >= score_threshold).tolist():
        rows_of[int(tracks.video[row])].append(row)
    counts = np.zeros((len(_TOGETHER), 3), np.int64)
    for number, video in enumerate(tracks.truth.videos):
        objects = [at for at, row in enumerate(video.objects) if not tracks.truth.crowd[row]]
        if not objects or not rows_of[number]:
            continue
        found = _tracks_of_objects(tracks, video.areas[objects], objects, rows_of[number])
        for shown, named in zip(video.areas[objects] > 0, found, strict=True):
            for length, outcome in _gaps(shown, named, video.annotated):
                counts[_part(length), outcome] += 1
    return [
        dict(
            shortest=shortest,
            longest=longest,
            gaps=int(row.sum()),
            kept=int(row[0]),
            changed=int(row[1]),
            lost=int(row[2]),
            kept_share=float(row[0] / row.sum()),
        )
        for (shortest, longest), row in zip(_TOGETHER, counts, strict=True)
        if row.any()
    ]


def gap_lines(gaps: list[dict[str, Any]], name: str) -> list[str]:
    """Returns the lines of a table of :func:`ids_after_gaps`."""
    lines = [f'ids of {name} after frames in which an object is hidden']
    if not gaps:
        return [*lines, '  no object that was found is hidden and shown again']
    lines.append(
        f'{"frames hidden":>14}{"gaps":>7}{"kept":>7}{"changed":>9}{"lost":>6}{"share":>8}'
    )
    for one in gaps:
        shortest, longest = one['shortest'], one['longest']
        span = f'{shortest}' if longest == shortest else f'{shortest} to {longest or "all"}'
        lines.append(
            f'{span:>14}{one["gaps"]:>7}{one["kept"]:>7}{one["changed"]:>9}{one["lost"]:>6}'
            f'{one["kept_share"]:>8.3f}'
        )
    return lines


def _part(length: int) -> int:
    """Position in ``_TOGETHER`` of a gap."""
    return next(at for at, (_, most) in enumerate(_TOGETHER) if most is None or length <= most)


def _tracks_of_objects(
    tracks: Tracks, truth_areas: np.ndarray, objects: list[int], rows: list[int]
) -> np.ndarray:
    """The position of the track (G, T) that each of G objects is in a frame; -1 for none."""
    areas = np.stack([tracks.frames[row][1] for row in rows])  # (D, T)
    common = np.stack([tracks.frames[row][0][objects] for row in rows], axis=1)  # (G, D, T)
    ious = common / np.maximum(truth_areas[:, None] + areas - common, 1)
    best = ious.argmax(axis=1)
    return np.where(ious.max(axis=1) >= _SAME_IOU, best, -1)


def _gaps(
    shown: np.ndarray, found: np.ndarray, annotated: np.ndarray | None
) -> list[tuple[int, int]]:
    """Lengths of an object's gaps and 0 (kept), 1 (changed) or 2 (lost) for each."""
    frames = np.flatnonzero(shown)
    hidden = ~shown if annotated is None else ~shown & annotated
    gaps, begins = [], np.flatnonzero(np.diff(frames) > 1)
    for number, begin in enumerate(begins):
        last, first = frames[begin], frames[begin + 1]
        length = int(hidden[last + 1 : first].sum())
        before = found[: last + 1][found[: last + 1] >= 0]
        if not length or not len(before):
            continue
        ends = frames[begins[number + 1]] if number + 1 < len(begins) else frames[-1]
        after = found[first : ends + 1][found[first : ends + 1] >= 0]
        gaps.append((length, 2 if not len(after) else int(after[0] != before[-1])))
    return gaps
