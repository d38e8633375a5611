"""Masks of a frame as one picture whose pixel values are the tracks."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path
from vispropnet.visualization.palette import track_color

_LARGEST = 65535


def write_mask_png(
    path: str | os.PathLike,
    ids: Sequence[int],
    masks: np.ndarray,
    scores: Sequence[float] | None = None,
) -> None:
    """Writes the masks of a frame as one PNG, whole or not at all.

    A pixel's value is the id of its track plus 1, and 0 where there is none. While all values are
    below 256, the picture has 8 bits and a palette with the colours of
    :func:`~vispropnet.visualization.palette.track_color`, as the masks of DAVIS have; otherwise it
    is grey with 16 bits. The value stands as ``#value`` in annotated videos, in the same colour.

    Args:
        path: The file, ``*.png``. Missing parent folders are made.
        ids: Ids of the N tracks, from 0.
        masks: (N, H, W) bool, with H and W also where N is 0.
        scores: (N,); where masks overlap, the higher score is seen. Among equal ones, and without
            scores, it is the one given earlier.

    Raises:
        UserError: if the file cannot be written.
        ValueError: if the arguments do not fit together, or an id does not fit into 16 bits.
    """
    masks, ids = np.asarray(masks), [int(one) for one in ids]
    if masks.ndim != 3 or masks.dtype != bool:
        raise ValueError(f'masks must be (N, H, W) bool, got {masks.shape} {masks.dtype}')
    for one in ids:
        if not 0 <= one < _LARGEST:
            raise ValueError(f'ids must be from 0 to {_LARGEST - 1} to fit into a PNG, got {one}')
    values = np.zeros(masks.shape[1:], np.uint8 if max(ids, default=0) < 255 else np.uint16)
    scores = [0.0] * len(ids) if scores is None else scores
    ordered = sorted(zip(ids, masks, scores, strict=True), key=lambda one: -one[2])
    for one, mask, _ in reversed(ordered):
        values[mask] = one + 1
    picture = Image.fromarray(values)
    if values.dtype == np.uint8:
        picture.putpalette(_palette())
    try:
        with atomic_path(path) as temporary:
            # Masks are mostly even areas: more effort makes files hardly smaller.
            picture.save(temporary, format='PNG', compress_level=1)
    except OSError as error:
        raise UserError(f'cannot write {path}: {error.strerror or error}.') from None


@functools.cache
def _palette() -> bytes:
    """(red, green, blue) of the values 0 to 255."""
    colors = [(0, 0, 0), *(track_color(value)[::-1] for value in range(1, 256))]
    return bytes(part for color in colors for part in color)
