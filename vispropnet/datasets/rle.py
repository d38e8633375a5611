"""Run-length encoded masks: whether they are sound, and into compressed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.errors import UserError

RLE = dict[str, Any]


def checked_rles(
    masks: Sequence[RLE | None], video: Mapping[str, Any], where: str
) -> list[RLE | None]:
    """Checks the masks of a track against its video, and compresses those that are not.

    Without it the evaluator would cut the longer of two tracks, take masks of unequal size for
    masks without a common pixel, and never come back from an RLE that is cut short.

    Args:
        masks: One RLE, compressed or uncompressed, or None per frame.
        video: Entry of the annotation file. ``length``, ``height`` and ``width`` are checked where
            they are present.
        where: How messages call the track.

    Returns:
        The masks as compressed RLEs, None where there is none. The given ones are not changed.

    Raises:
        UserError: naming track and frame, if a mask does not fit the video or is no RLE.
    """
    if not isinstance(masks, (list, tuple)):
        raise UserError(f"{where}: 'segmentations' must be a list, got {masks!r}.")
    length = video.get('length', len(video.get('file_names', masks)))
    if len(masks) != length:
        raise UserError(
            f"{where}: 'segmentations' has {len(masks)} entries, but video {video['id']} has "
            f'{length} frames.'
        )
    return [
        checked_rle(mask, video, f'{where}, frame {frame}') if mask else None
        for frame, mask in enumerate(masks)
    ]


def checked_rle(mask: RLE, video: Mapping[str, Any], where: str) -> RLE:
    """Checks one mask against its video, and compresses it if it is not.

    Args:
        mask: An RLE, compressed or uncompressed.
        video: As in :func:`checked_rles`.
        where: How messages call the mask.

    Returns:
        A compressed RLE.

    Raises:
        UserError: if the mask does not fit the video or is no RLE.
    """
    if not isinstance(mask, dict) or not isinstance(mask.get('counts'), (list, str, bytes)):
        raise UserError(f"{where}: a mask must be null or an RLE with 'size' and 'counts'.")
    size = mask.get('size')
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        raise UserError(f"{where}: 'size' of an RLE must be [height, width], got {size!r}.")
    height, width = size
    wanted = (video.get('height', height), video.get('width', width))
    if (height, width) != wanted:
        raise UserError(
            f'{where}: the mask is {width}x{height} pixels (width x height), but video '
            f'{video["id"]} is {wanted[1]}x{wanted[0]}.'
        )
    counts = mask['counts']
    if isinstance(counts, list):
        runs = np.array([run if type(run) is int else -1 for run in counts])
    else:
        runs = decode_counts(counts)
    if runs.sum() != height * width or (runs < 0).any():
        raise UserError(
            f"{where}: 'counts' of the RLE are damaged: they must be runs that cover "
            f'{height * width} pixels, but cover {int(runs.sum())}.'
        )
    if isinstance(counts, list):
        counts = mask_utils.frPyObjects(mask, height, width)['counts']
    # As a string: mmdet takes masks whose counts are bytes for invalid.
    counts = counts.decode('ascii') if isinstance(counts, bytes) else counts
    return {'size': [height, width], 'counts': counts}


def decode_counts(counts: str | bytes) -> np.ndarray:
    """Decodes the compressed counts of an RLE into run lengths.

    Needed to tell a damaged RLE: pycocotools merges one that is cut short in an endless loop.

    Args:
        counts: Compressed counts: little-endian groups of five bits, and from the fourth run on the
            difference to the run before the last.

    Returns:
        (R,) int64 run lengths, of background and object in turn. Source: rleFrString of cocoapi.
    """
    data = np.frombuffer(counts.encode() if isinstance(counts, str) else counts, np.uint8)
    digits = data.astype(np.int64) - 48
    if digits.size == 0 or digits[-1] & 0x20:
        return np.zeros(0, np.int64)  # nothing, or it stops inside a number
    ends = np.flatnonzero(digits & 0x20 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    runs = np.add.reduceat((digits & 0x1F) << np.minimum(5 * places, 40), starts)
    negative = (digits[ends] & 0x10) != 0
    runs[negative] -= np.int64(1) << np.minimum(5 * (ends - starts + 1)[negative], 45)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
