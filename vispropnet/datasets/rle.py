"""Run-length encoded masks: checked, and brought into compressed form."""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.datasets.annotation_values import is_no_mask
from vispropnet.datasets.polygons import polygon_fault
from vispropnet.datasets.run_lengths import decode_counts, measure_counts
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
        where: Name of the track in messages.

    Returns:
        The masks as compressed RLEs, None where there is none. The given ones are not changed.

    Raises:
        UserError: naming track and frame, if a mask does not fit the video or is no RLE.
    """
    fault = length_fault(masks, video)
    if fault:
        raise UserError(f'{where}: {fault}')
    frames = [frame for frame, mask in enumerate(masks) if not is_no_mask(mask)]
    rles, _, faults = examine_rles([masks[frame] for frame in frames], [video] * len(frames))
    for index, fault in faults.items():
        raise UserError(f'{where}, frame {frames[index]}: {fault}')
    checked: list[RLE | None] = [None] * len(masks)
    for frame, rle in zip(frames, rles, strict=True):
        checked[frame] = rle
    return checked


def length_fault(masks: Any, video: Mapping[str, Any]) -> str | None:
    """Finds what is wrong with the number of entries in a track's ``segmentations``; or None."""
    if not isinstance(masks, (list, tuple)):
        return f"'segmentations' must be a list, got {reprlib.repr(masks)}."
    length = video.get('length', len(video.get('file_names', masks)))
    if len(masks) == length:
        return None
    return f"'segmentations' has {len(masks)} entries, but video {video['id']} has {length} frames."


def examine_rles(
    masks: Sequence[Any], videos: Sequence[Mapping[str, Any]]
) -> tuple[list[RLE | None], np.ndarray, dict[int, str]]:
    """Checks masks against their videos, measures them, and compresses those that are not.

    Many masks at once take a small part of the time that they take one by one.

    Args:
        masks: M entries that should be RLEs, compressed or uncompressed.
        videos: (M) the video of each, an entry of the annotation file; its ``height`` and ``width``
            are checked where they are present.

    Returns:
        The masks as compressed RLEs, their ``counts`` a string; their areas (M,) in pixels; and
        what is wrong, by position, in order. A faulty mask is None and has area 0.
    """
    faults: dict[int, str] = {}
    rles: list[RLE | None] = list(masks)
    if not _all_plain(masks, videos):
        for index, (mask, video) in enumerate(zip(masks, videos, strict=True)):
            fault = _form_fault(mask, video)
            rles[index], fault = (None, fault) if fault is not None else _compressed(mask)
            if fault is not None:
                faults[index] = fault
    texts = [rle['counts'] if rle is not None else '0' for rle in rles]
    # One mask often stands under several categories: of query-based models, for example.
    place_of: dict[str, int] = {}
    places = [place_of.setdefault(text, len(place_of)) for text in texts]
    measures = measure_counts(list(place_of))
    areas, totals, sound, proper = (of_text[places] for of_text in measures)
    pixels = np.array([rle['size'][0] * rle['size'][1] if rle else 0 for rle in rles], np.int64)
    for index in np.flatnonzero(~sound | (totals != pixels)).tolist():
        faults.setdefault(index, _damage(pixels[index], totals[index], texts[index]))
        rles[index] = None
        areas[index] = 0
    for index in np.flatnonzero(~proper).tolist():
        if rles[index] is not None:
            rles[index] = _without_empty_runs(rles[index])
    return rles, areas, dict(sorted(faults.items()))


def _all_plain(masks: Sequence[Any], videos: Sequence[Mapping[str, Any]]) -> bool:
    """Says if all are compressed RLEs of their videos' sizes, so that none needs a look."""
    if not masks or set(map(type, masks)) != {dict}:
        return False
    try:
        texts, sizes = ([mask[key] for mask in masks] for key in ('counts', 'size'))
    except KeyError:
        return False
    distinct = {id(video): video for video in videos}
    wanted = {key: [video.get('height'), video.get('width')] for key, video in distinct.items()}
    return (
        set(map(type, texts)) == {str}
        and sizes == [wanted[id(video)] for video in videos]
        # Equal numbers may be of other types.
        and set(map(type, itertools.chain.from_iterable(sizes))) == {int}
        and all(map(_is_size, wanted.values()))
    )


def _form_fault(mask: Any, video: Mapping[str, Any]) -> str | None:
    """Finds what is wrong with an RLE's form or size, its counts left aside."""
    if isinstance(mask, list):
        # Sound ones of annotations are drawn before.
        text = 'a mask must be null or an RLE: polygons are read in annotation files only.'
        return polygon_fault(mask, video) or text
    if not isinstance(mask, dict) or not isinstance(mask.get('counts'), (str, list, bytes)):
        return "a mask must be null or an RLE with 'size' and 'counts'."
    size = mask.get('size')
    if not isinstance(size, (list, tuple)) or len(size) != 2 or not _is_size(size):
        return f"'size' of an RLE must be [height, width], got {size!r}."
    height, width = size
    wanted_height, wanted_width = video.get('height', height), video.get('width', width)
    if height == wanted_height and width == wanted_width:
        return None
    found = f'the mask is {width}x{height} pixels (width x height)'
    return f'{found}, but video {video["id"]} is {wanted_width}x{wanted_height}.'


def _is_size(size: Sequence[Any]) -> bool:
    """Says if two values are the sides of a mask that runs of 31 bits can cover."""
    height, width = size
    return type(height) is type(width) is int and 0 < height * width < 1 << 31 and height > 0


def _compressed(mask: RLE) -> tuple[RLE | None, str | None]:
    """An RLE of sound form with its counts as a string, or what is wrong with its plain counts."""
    counts = mask['counts']
    if isinstance(counts, str):
        return mask, None
    height, width = mask['size']
    if isinstance(counts, list):
        runs = [run if type(run) is int else -1 for run in counts]
        if min(runs, default=0) < 0 or sum(runs) != height * width:
            return None, _damage(height * width, sum(runs))
        counts = mask_utils.frPyObjects({**mask, 'size': [height, width]}, height, width)['counts']
    # As a string: mmdet takes masks whose counts are bytes for invalid.
    return {'size': [height, width], 'counts': counts.decode('latin-1')}, None


def _without_empty_runs(rle: RLE) -> RLE:
    """The same mask, with the runs on both sides of an empty one put together."""
    runs = decode_counts(rle['counts']).astype(np.int64)
    is_object = np.arange(len(runs)) % 2 == 1
    runs, is_object = runs[runs > 0], is_object[runs > 0]
    begins = np.flatnonzero(np.diff(is_object, prepend=~is_object[:1]))
    counts = np.add.reduceat(runs, begins).tolist()
    plain = {'size': rle['size'], 'counts': [0, *counts] if is_object[0] else counts}
    return _compressed(plain)[0]


def _damage(pixels: int, covered: int, counts: str = '') -> str:
    if counts.startswith(("b'", 'b"')):
        return (
            f"'counts' of the RLE are the text that Python shows of bytes ({counts[:12]}...): "
            'write counts.decode() instead of str(counts).'
        )
    if counts.startswith('['):
        return (
            f"'counts' of the RLE are a list written as text ({counts[:12]}...): "
            'write the list itself, or the compressed form.'
        )
    return (
        "'counts' of the RLE are damaged: they must be runs that cover "
        f'{pixels} pixels, but cover {covered}.'
    )
