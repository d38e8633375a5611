"""A frame with its tracks as one cell among others, enlarged or shrunk to fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from vispropnet.visualization.labels import Labeller
from vispropnet.visualization.mask_cuts import MaskCuts
from vispropnet.visualization.overlay import draw_instances
from vispropnet.visualization.shown_tracks import ShownTrack

FRAME_MUTING = 0.7  # so that strong colour means a track


def fit(width: int, height: int, side: int) -> tuple[int, tuple[int, int]]:
    """Fits a frame into a square cell.

    Args:
        width: Of the frame.
        height: Of the frame.
        side: Of the cell.

    Returns:
        The whole factor to enlarge by (0: shrink), and the (width, height) that the frame gets.
    """
    scale = side // max(width, height)
    factor = scale or side / max(width, height)
    return scale, (max(1, round(width * factor)), max(1, round(height * factor)))


def muted(picture: np.ndarray) -> np.ndarray:
    """Gives a frame with little of its own colour: (H, W, 3) uint8."""
    gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(picture, 1 - FRAME_MUTING, gray, FRAME_MUTING, 0)


def draw_cell(
    picture: np.ndarray,
    tracks: Sequence[ShownTrack],
    frame: int,
    names: Mapping[int, str],
    side: int,
    labeller: Labeller | None = None,
) -> np.ndarray:
    """Draws the tracks of one frame.

    Args:
        picture: (H, W, 3) uint8, the frame, BGR.
        tracks: Of the video.
        frame: Position in the video.
        names: Categories by id.
        side: Width or height of the cell, whichever the frame fills.
        labeller: As in :func:`~vispropnet.visualization.overlay.draw_instances`.

    Returns:
        (h, w, 3) uint8, of the size that :func:`fit` tells.
    """
    height, width = picture.shape[:2]
    scale, size = fit(width, height, side)
    present = [track for track in tracks if track.rles[frame]]
    masks = [track.rles[frame] for track in present]
    if not scale:
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        masks = _shrink(MaskCuts(masks, height, width), (width, height), size)
    scores = [track.score for track in present]
    return draw_instances(
        picture,
        masks,
        [track.number for track in present],
        [track.label for track in present],
        None if None in scores else scores,
        names,
        scale=scale or 1,
        propagated=[track.propagated[frame] for track in present],
        labeller=labeller,
    )


def _shrink(masks, before, after):
    """Shrinks masks, none of them to nothing: (N, h, w) bool."""
    shrunk = np.zeros((len(masks.boxes), after[1], after[0]), bool)
    factors = np.divide(after, before)
    for index, box in enumerate(masks.boxes):
        if box is None:
            continue
        cut, corner = masks.cut_out(index)
        # The pixels of the small mask that the box touches, and what they stand for.
        begin = (np.array(box[:2]) * factors).astype(int)
        end = np.minimum(np.ceil(np.array(box[2:]) * factors).astype(int), after)
        x0, y0 = np.rint(begin / factors).astype(int)
        x1, y1 = np.maximum(np.rint(end / factors).astype(int), (x0 + 1, y0 + 1))
        whole = np.zeros((y1 - y0, x1 - x0), np.float32)
        part = cut[max(y0 - corner[1], 0) : y1 - corner[1], max(x0 - corner[0], 0) : x1 - corner[0]]
        top, left = max(corner[1] - y0, 0), max(corner[0] - x0, 0)
        whole[top : top + part.shape[0], left : left + part.shape[1]] = part
        share = cv2.resize(whole, (end - begin).tolist(), interpolation=cv2.INTER_AREA)
        shrunk[index, begin[1] : end[1], begin[0] : end[0]] = share >= min(0.5, share.max())
    return shrunk
