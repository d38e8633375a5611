"""Data sets of which only some frames are annotated, such as every fifth."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from vispropnet.datasets.annotation_values import is_id

# Fewer frames with objects tell nothing.
_LEAST_FRAMES = 3
# Share of the neighbours of annotated frames, and of the videos, that may be otherwise.
_TOLERANCE = 0.2


def annotated_frames_fault(value: Any, frames: int | None) -> str | None:
    """Says what ``annotated_frames`` of a video must be, where the value is none; or None."""
    text = 'must be null or a list of different frame numbers from 0'
    if value is None:
        return None
    if not isinstance(value, list) or not all(is_id(one) and one >= 0 for one in value):
        return text
    if len(set(value)) < len(value):
        return text
    if frames is not None and max(value, default=0) >= max(frames, 1):
        return f'{text} to {frames - 1}'
    return None


def find_stride(shown: Iterable[tuple[Sequence[int], int | None]]) -> str | None:
    """Finds out if objects show on separate frames only, which then may be all that are annotated.

    Args:
        shown: For each video the frames that show an object, in order, and the number of frames.

    Returns:
        The frames in words; None if neighbouring frames show objects too.
    """
    videos = [frames for frames, length in shown if frames and length != 1]
    gaps = [[last - first for first, last in itertools.pairwise(frames)] for frames in videos]
    sparse = [of_video.count(1) <= _TOLERANCE * len(of_video) for of_video in gaps]
    enough = sum(map(len, videos)) >= _LEAST_FRAMES
    if not enough or sum(sparse) < (1 - _TOLERANCE) * len(videos):
        return None
    common = Counter(itertools.chain.from_iterable(gaps)).most_common(1)
    return f'one frame in {common[0][0]}' if common else 'one frame of each video'
