"""Objects of a video put together from their masks on single frames."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from scipy.optimize import linear_sum_assignment

from vispropnet.converting.interface import RLE, SourceVideo, Track
from vispropnet.datasets.check_report import Report

# Masks of two frames are of one object from this IoU on.
_LEAST_IOU = 0.3
# An object is found again after at most so many frames without it.
_MOST_HIDDEN = 5


class TrackBook:
    """Collects masks by the ids of their objects.

    Args:
        video: The video.
        report: Takes ids that are twice on a frame, or change their category.
    """

    def __init__(self, video: SourceVideo, report: Report) -> None:
        self._video, self._report = video, report
        self._tracks: dict[Hashable, Track] = {}

    def add(
        self,
        key: Hashable,
        category: str,
        position: int,
        rle: RLE | None,
        is_crowd: bool = False,
        path: Any = None,
    ) -> None:
        """Takes in the mask of an object on a frame, None for one without pixels."""
        track = self._tracks.setdefault(key, Track(key, category, {}, is_crowd))
        place = self._video.place(position, path)
        if track.category != category:
            text = f'id {key} is of category {category!r}, before it was {track.category!r}'
            self._report.error('id of two categories', text, **place)
        if rle is None:
            return
        if position in track.masks:
            self._report.error('id twice', f'id {key} is twice on this frame', **place)
        track.masks[position] = rle

    def tracks(self) -> list[Track]:
        """Gives the objects, in the order in which they came."""
        return list(self._tracks.values())


def link_by_iou(frames: dict[int, list[tuple[str, RLE]]]) -> list[Track]:
    """Links masks of frames to objects by mask IoU.

    On each frame, those of a category are assigned to the objects of up to five frames before so
    that the IoUs with their latest masks add up to most (the Hungarian method); what has an IoU
    below 0.3 begins an object.

    Args:
        frames: Categories and masks by position.

    Returns:
        The objects, with keys from 1.
    """
    tracks: list[Track] = []
    for position in sorted(frames):
        found = frames[position]
        recent = [one for one in tracks if position - max(one.masks) <= _MOST_HIDDEN]
        ious = np.zeros((len(found), len(recent)))
        if found and recent:
            latest = [one.masks[max(one.masks)] for one in recent]
            ious = mask_utils.iou([rle for _, rle in found], latest, [0] * len(latest))
            ious *= np.array([[kind == one.category for one in recent] for kind, _ in found])
        ious[ious < _LEAST_IOU] = 0
        rows, columns = linear_sum_assignment(ious, maximize=True)
        owner = {
            row: recent[column]
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            if ious[row, column] > 0
        }
        for row, (category, rle) in enumerate(found):
            if row not in owner:
                owner[row] = Track(len(tracks) + 1, category)
                tracks.append(owner[row])
            owner[row].masks[position] = rle
    return tracks
