"""Tracks of annotation and result files; their masks are checked many at once.

That takes a small part of the time of one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.datasets.annotation_values import is_no_mask
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.rle import examine_rles

# Kinds of findings that concern the mask of one frame.
OTHER_SIZE, DAMAGED = 'mask of another size than its video', 'damaged mask'
_BATCH_MASKS = 1024


@dataclass(frozen=True)
class Video:
    """An entry of ``videos``, as far as it is sound.

    Args:
        place: Place in the file, as in :class:`~vispropnet.datasets.check_report.Finding`.
        known: ``id``, ``height`` and ``width`` as far as they are sound.
        names: ``file_names``, None if that is no list; single names may be unusable.
        frames: Number of frames, None if it is not known.
    """

    place: dict[str, Any]
    known: dict[str, int]
    names: list[Any] | None
    frames: int | None

    def frame_place(self, frame: int) -> dict[str, Any]:
        """Names a frame of the video; returns its place."""
        return {**self.place, 'frame': frame, 'file_name': self.names[frame]}


# Stands for a video that the file does not list.
NO_VIDEO = Video({}, {}, None, None)


@dataclass(frozen=True)
class Track:
    """An annotation or a result with a list of masks.

    Args:
        entry: It, as it stands in the file.
        video: Its video.
        place: Place in the file, as in :class:`~vispropnet.datasets.check_report.Finding`.
    """

    entry: dict[str, Any]
    video: Video
    place: dict[str, Any]

    def frame_place(self, frame: int) -> dict[str, Any]:
        """Names a frame of the track; returns its place."""
        names = self.video.names
        if names is None or frame >= len(names):
            return {**self.place, 'frame': frame}
        return {**self.place, 'frame': frame, 'file_name': names[frame]}


@dataclass(frozen=True)
class CheckedTrack:
    """A track whose masks were checked.

    Args:
        track: The track.
        frames: (M) the frames that have a mask.
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


def check_masks(
    tracks: Iterable[Track], report: Report, with_boxes: bool = False
) -> Iterator[CheckedTrack]:
    """Checks the masks of tracks: each must be an RLE, sound, and of its video's size.

    Tracks are held only until there are enough masks for a batch.

    Args:
        tracks: Their entries' ``segmentations`` are lists.
        report: Takes what is found.
        with_boxes: Whether the masks' boxes are wanted.

    Yields:
        The tracks, in order.
    """
    pending: list[tuple[Track, list[int]]] = []
    masks = 0
    for track in tracks:
        entries = track.entry['segmentations']
        pending.append((track, [at for at, mask in enumerate(entries) if not is_no_mask(mask)]))
        masks += len(pending[-1][1])
        if masks >= _BATCH_MASKS:
            yield from _check_batch(pending, report, with_boxes)
            pending, masks = [], 0
    yield from _check_batch(pending, report, with_boxes)


def _check_batch(
    tracks: list[tuple[Track, list[int]]], report: Report, with_boxes: bool
) -> Iterator[CheckedTrack]:
    masks = [track.entry['segmentations'][frame] for track, frames in tracks for frame in frames]
    videos = [track.video.known for track, frames in tracks for _ in frames]
    rles, areas, faults = examine_rles(masks, videos)
    boxes = _boxes(rles) if with_boxes else None
    report.look_at(masks=len(masks))
    begin = 0
    for track, frames in tracks:
        part = slice(begin, begin + len(frames))
        begin += len(frames)
        faulty = set()
        if faults:
            for frame, position in zip(frames, range(part.start, part.stop), strict=True):
                if position in faults:
                    faulty.add(frame)
                    kind = _kind(masks[position], track.video)
                    report.error(kind, faults[position], **track.frame_place(frame))
        of_track = None if boxes is None else boxes[part]
        yield CheckedTrack(track, frames, rles[part], areas[part], of_track, faulty)


def _boxes(rles: list[dict[str, Any] | None]) -> np.ndarray:
    boxes = np.zeros((len(rles), 4))
    sound = [index for index, rle in enumerate(rles) if rle is not None]
    if sound:
        boxes[sound] = mask_utils.toBbox([rles[index] for index in sound])
    return boxes


def _kind(mask: Any, video: Video) -> str:
    size = mask.get('size') if isinstance(mask, dict) else None
    wanted = [video.known.get('height'), video.known.get('width')]
    sized = isinstance(size, list) and len(size) == 2 and None not in wanted
    return OTHER_SIZE if sized and size != wanted else DAMAGED
