"""Masks of many tracks looked at together, which takes a small part of the time of one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.datasets.findings import Report
from vispropnet.datasets.rle import examine_rles

_BATCH_MASKS = 1024


@dataclass
class Track:
    """An annotation or a result of which the masks are to be looked at.

    Args:
        entry: It, as it stands in the file.
        video: What :func:`~vispropnet.datasets.rle.examine_rles` is to know of its video: ``id``,
            ``height`` and ``width``, as far as they are known and sound.
        names: File names of the video's frames, None if they are not known.
        place: Where it stands, as in :class:`~vispropnet.datasets.findings.Finding`.
    """

    entry: dict[str, Any]
    video: Mapping[str, Any]
    names: list[Any] | None
    place: dict[str, Any]

    def frame_place(self, frame: int) -> dict[str, Any]:
        """Names a frame of the track.

        Args:
            frame: Number of the frame.

        Returns:
            The place, as in :class:`~vispropnet.datasets.findings.Finding`.
        """
        place = {**self.place, 'frame': frame}
        if self.names is not None and frame < len(self.names):
            place['file_name'] = self.names[frame]
        return place


@dataclass
class LookedAt:
    """What the masks of a track are.

    Args:
        track: The track.
        frames: (M) the frames that have a mask that is not null.
        rles: (M) compressed, None where damaged.
        areas: (M,) pixels, 0 where damaged.
        boxes: (M, 4) each mask's x, y, width and height, 0 where damaged or empty; None unless
            asked for.
        faulty: Frames whose mask is damaged.
    """

    track: Track
    frames: list[int]
    rles: list[dict[str, Any] | None]
    areas: np.ndarray
    boxes: np.ndarray | None
    faulty: set[int]


def look_at_masks(
    tracks: Iterable[Track], report: Report, with_boxes: bool = False
) -> Iterator[LookedAt]:
    """Looks at the masks of tracks, and reports those that are no RLE, do not fit, or are damaged.

    Tracks are held only until there are enough masks for a batch.

    Args:
        tracks: Their entries' ``segmentations`` are lists.
        report: Takes what is found.
        with_boxes: Whether the masks' boxes are wanted.

    Yields:
        What was seen of each track, in order.
    """
    pending: list[Track] = []
    masks = 0
    for track in tracks:
        pending.append(track)
        masks += sum(mask is not None for mask in track.entry['segmentations'])
        if masks >= _BATCH_MASKS:
            yield from _look_at_batch(pending, report, with_boxes)
            pending, masks = [], 0
    yield from _look_at_batch(pending, report, with_boxes)


def _look_at_batch(tracks: list[Track], report: Report, with_boxes: bool) -> Iterator[LookedAt]:
    frames = [
        [frame for frame, mask in enumerate(track.entry['segmentations']) if mask is not None]
        for track in tracks
    ]
    masks = [
        track.entry['segmentations'][frame]
        for track, present in zip(tracks, frames, strict=True)
        for frame in present
    ]
    videos = [track.video for track, present in zip(tracks, frames, strict=True) for _ in present]
    rles, areas, faults = examine_rles(masks, videos)
    boxes = _boxes(rles) if with_boxes else None
    report.look_at(masks=len(masks))
    begin = 0
    for track, present in zip(tracks, frames, strict=True):
        part = slice(begin, begin + len(present))
        begin += len(present)
        faulty = set()
        for frame, position in zip(present, range(part.start, part.stop), strict=True):
            if position in faults:
                faulty.add(frame)
                kind = _kind(masks[position], track.video)
                report.error(kind, faults[position], **track.frame_place(frame))
        seen = None if boxes is None else boxes[part]
        yield LookedAt(track, present, rles[part], areas[part], seen, faulty)


def _boxes(rles: list[dict[str, Any] | None]) -> np.ndarray:
    boxes = np.zeros((len(rles), 4))
    sound = [index for index, rle in enumerate(rles) if rle is not None]
    if sound:
        boxes[sound] = mask_utils.toBbox([rles[index] for index in sound])
    return boxes


def _kind(mask: Any, video: Mapping[str, Any]) -> str:
    size = mask.get('size') if isinstance(mask, dict) else None
    wanted = [video.get('height'), video.get('width')]
    if isinstance(size, list) and len(size) == 2 and None not in wanted and size != wanted:
        return 'mask of another size than its video'
    return 'damaged mask'
