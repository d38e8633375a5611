"""Masks of tracks, checked many at once, which takes a small part of the time of one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.datasets.annotation_values import is_no_mask
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.file_entries import Track, Video
from vispropnet.datasets.rle import examine_rles

# Kinds of findings that concern the mask of one frame.
OTHER_SIZE, DAMAGED = 'mask of another size than its video', 'damaged mask'
_BATCH_MASKS = 1024


@dataclass(frozen=True)
class CheckedTrack:
    """A track whose masks were checked."""

    track: Track
    frames: list[int]  # (M) the frames that have a mask
    rles: list[dict[str, Any] | None]  # (M) compressed, None where damaged
    areas: np.ndarray  # (M,) pixels, 0 where damaged
    # (M, 4) each mask's x, y, width and height, 0 where damaged or empty; None unless asked for.
    boxes: np.ndarray | None
    faulty: set[int]  # frames whose mask is damaged


def check_masks(
    tracks: Iterable[Track], report: Report, with_boxes: bool = False
) -> Iterator[CheckedTrack]:
    """Checks the masks of tracks: each must be an RLE, sound, and of its video's size.

    Args:
        tracks: The tracks. They are held only until there are enough masks for a batch.
        report: Counts the masks; findings go to the tracks' own.
        with_boxes: Whether the masks' boxes are wanted.

    Yields:
        The tracks, in order.
    """
    pending: list[tuple[Track, list[int]]] = []
    masks = 0
    for track in tracks:
        frames = [at for at, mask in enumerate(track.masks) if not is_no_mask(mask)]
        pending.append((track, frames))
        if loose := track.masks.count([]):
            text = f'{loose} masks are []: expected null where the object is not visible'
            track.warn('absent object', text, track.masks.index([]))
        masks += len(frames)
        if masks >= _BATCH_MASKS:
            report.look_at(masks=masks)
            yield from _check_batch(pending, with_boxes)
            pending, masks = [], 0
    report.look_at(masks=masks)
    yield from _check_batch(pending, with_boxes)


def _check_batch(tracks: list[tuple[Track, list[int]]], with_boxes: bool) -> Iterator[CheckedTrack]:
    masks = [track.masks[frame] for track, frames in tracks for frame in frames]
    videos = [track.video.known for track, frames in tracks for _ in frames]
    rles, areas, faults = examine_rles(masks, videos)
    boxes = np.zeros((len(rles), 4)) if with_boxes else None
    sound = [index for index, rle in enumerate(rles) if rle is not None]
    if with_boxes and sound:
        boxes[sound] = mask_utils.toBbox([rles[index] for index in sound])
    begin = 0
    for track, frames in tracks:
        faulty = set()
        for index, frame in enumerate(frames, begin) if faults else ():
            if index in faults:
                faulty.add(frame)
                track.error(_kind(masks[index], track.video), faults[index], frame)
        part = slice(begin, begin + len(frames))
        begin = part.stop
        own = boxes[part] if with_boxes else None
        yield CheckedTrack(track, frames, rles[part], areas[part], own, faulty)


def _kind(mask: Any, video: Video) -> str:
    size = mask.get('size') if isinstance(mask, dict) else None
    wanted = [video.known.get('height'), video.known.get('width')]
    sized = isinstance(size, list) and len(size) == 2 and None not in wanted
    return OTHER_SIZE if sized and size != wanted else DAMAGED
