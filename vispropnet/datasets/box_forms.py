"""Boxes of annotation files held against those of their masks, and the forms they are taken for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vispropnet.datasets.annotation_values import is_box
from vispropnet.datasets.track_masks import CheckedTrack
from vispropnet.text import shown

# Boxes and areas may be rounded, or count a box's last pixel differently.
TOLERANCE = 1
# An object's boxes are others than its masks' where most have an IoU below this with them.
_LEAST_IOU = 0.5
# So many objects, or this share of them, may have such boxes; never all.
_FEW, _FEW_SHARE = 2, 0.1
# Boxes have a form if this share of them, read so, have such an IoU with their masks'.
_FORM_SHARE, _FORM_IOU = 0.8, 0.8
# The order of a box's four numbers, and how x, y, width and height come from them.
_ORDERS: dict[str, Callable[..., tuple]] = {
    '[x1, y1, x2, y2]': lambda a, b, c, d: (a, b, c - a, d - b),
    '[centre x, centre y, width, height]': lambda a, b, c, d: (a - c / 2, b - d / 2, c, d),
    '[x, y, width, height]': lambda a, b, c, d: (a, b, c, d),
    '[y1, x1, y2, x2]': lambda a, b, c, d: (b, a, d - b, c - a),
    '[y, x, height, width]': lambda a, b, c, d: (b, a, d, c),
    '[centre y, centre x, height, width]': lambda a, b, c, d: (b - d / 2, a - c / 2, d, c),
}
# More tell no more about the form.
_MOST_BOXES = 5000


class BoxComparison:
    """Gathers the boxes of a file, to find out if they are those of its masks."""

    def __init__(self) -> None:
        self.objects = self.others = 0  # those that have boxes; those with other ones
        self._boxes: list[tuple[list[float], list[float], list[int]]] = []

    def add(self, checked: CheckedTrack) -> None:
        """Takes in an object with the boxes of its masks."""
        given = checked.track.per_frame('bboxes')
        found = zip(checked.frames, checked.boxes.tolist(), checked.rles, strict=True)
        pairs = [
            (given[frame], box, rle['size'][::-1])
            for frame, box, rle in found
            if given and box[2] > 0 and is_box(given[frame])
        ]
        if not pairs:
            return
        self.objects += 1
        first, second, _ = _columns(pairs)
        if np.median(_ious(first, second) + are_near(first, second)) < _LEAST_IOU:
            self.others += 1
            self._boxes += pairs[: max(_MOST_BOXES - len(self._boxes), 0)]

    def fault(self) -> str | None:
        """Says that more than a few objects have other boxes, and what form those have; or None."""
        few = max(_FEW, _FEW_SHARE * self.objects)
        if self.others == 0 or (self.others <= few and self.others < self.objects):
            return None
        given, wanted = self._boxes[0][:2]
        return (
            f'the boxes of {self.others} of {self.objects} objects are not those of their masks '
            f'({shown(given)}, where the mask has {list(map(int, wanted))}): they look like '
            f"{self._form()}, expected [x, y, width, height] in pixels. Mend 'bboxes', or leave "
            'them out: those of the masks are taken.'
        )

    def _form(self) -> str:
        given, wanted, sizes = _columns(self._boxes)
        for order, read in _ORDERS.items():
            boxes = np.stack(read(*given.T), axis=1)
            with np.errstate(all='ignore'):
                ratio = np.nanmedian(wanted[:, 2:] / boxes[:, 2:], axis=0)
            scales = {
                'in pixels': np.ones(4),
                'in fractions of the frame': np.tile(sizes, 2),
                'in pixels of frames of another size': np.tile(ratio, 2),
            }
            for name, scale in scales.items():
                if np.mean(_ious(boxes * scale, wanted) > _FORM_IOU) >= _FORM_SHARE:
                    return f'{order} {name}'
        return 'no known form (boxes of other objects or frames?)'


def _columns(pairs: list[tuple[list, list, list]]) -> list[np.ndarray]:
    return [np.array(column, float) for column in zip(*pairs, strict=True)]


def are_near(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Says of each two boxes, (N, 4), if no side is further off than by rounding: (N,) bool."""
    ends = [np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]) for boxes in (first, second)]
    return (np.abs(ends[0] - ends[1]) <= TOLERANCE).all(axis=1)


def _ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Gives the IoU (N,) of each two boxes, (N, 4) of x, y, width and height; 0 if one is none."""
    sides = [np.maximum(boxes[:, 2:], 0) for boxes in (first, second)]
    ends = np.minimum(first[:, :2] + sides[0], second[:, :2] + sides[1])
    begins = np.maximum(first[:, :2], second[:, :2])
    common = np.maximum(ends - begins, 0).prod(axis=1)
    union = sides[0].prod(axis=1) + sides[1].prod(axis=1) - common
    return np.nan_to_num(common / np.maximum(union, 1e-9))
