"""Masks of a frame as one array of ids, brought into run lengths all at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.converting.interface import RLE, Frames, SourceVideo
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.index_masks import read_id_map
from vispropnet.errors import UserError

# Decompression goes on without the interpreter's lock.
_MAX_THREADS = 8


def id_map_rles(ids: np.ndarray) -> dict[int, RLE]:
    """Encodes the objects of a frame.

    One pass over the runs of equal ids serves all objects; encoding them one by one takes a pass
    over the pixels for each.

    Args:
        ids: (H, W) unsigned integers, 0 where there is no object.

    Returns:
        Compressed RLEs, as pycocotools makes them, by id.
    """
    height, width = ids.shape
    if ids.size == 0:
        return {}
    flat = ids.T.ravel()
    begins = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.append(begins[1:], flat.size)
    values = flat[begins]
    order = np.argsort(values, kind='stable')
    values, begins, ends = values[order], begins[order], ends[order]
    found, first = np.unique(values, return_index=True)
    last = np.append(first[1:], values.size)
    rles = {}
    for value, low, high in zip(found.tolist(), first.tolist(), last.tolist(), strict=True):
        if value:
            edges = np.stack([begins[low:high], ends[low:high]], axis=1).ravel()
            rest = [flat.size - int(edges[-1])] if edges[-1] < flat.size else []
            counts = [*np.diff(edges, prepend=0).tolist(), *rest]
            rles[value] = compressed(counts, height, width)
    return rles


def compressed(counts: list[int], height: int, width: int) -> RLE:
    """Compresses run lengths, of background and object in turn, column by column."""
    rle = mask_utils.frPyObjects({'size': [height, width], 'counts': counts}, height, width)
    return {'size': [height, width], 'counts': rle['counts'].decode('ascii')}


def read_rles(
    files: Mapping[int, Path], video: SourceVideo, frames: Frames, report: Report
) -> Iterator[tuple[int, dict[int, RLE]]]:
    """Reads files of ids, several at a time.

    Args:
        files: PNGs by position of their frame, in order.
        video: The video.
        frames: Its frames.
        report: Takes what is wrong with a file.

    Yields:
        The position of each sound file, and its objects by id.
    """

    def read(path: Path) -> dict[int, RLE] | str:
        try:
            return id_map_rles(read_id_map(path, frames.size))
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        for position, found in zip(files, pool.map(read, files.values()), strict=True):
            if isinstance(found, str):
                report.error('mask', found, **video.place(position))
            else:
                yield position, found
