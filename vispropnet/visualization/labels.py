"""The rule for where labels stand: apart, near their objects, and still from frame to frame.

Legend: W, H the picture; N labels; M candidates, rows of (form, spot, x, y); a box or rectangle is
(x0, y0, x1, y1) in pixels, its end exclusive. A label has forms, from the fullest to its id alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

# Costs, in the order of what matters most. A label that is hidden cannot be read at all.
MEETING = 100.0
SHORTENING = 0.35  # per form
STAYING = -0.5
HIDING = 0.3  # per area of the shortest form that lies on other objects
HIDING_OWN = 0.06
CROWDING = 4.0  # per share of the picture that the other labels would take, were they as large
GAP = 0.15  # per label height between label and box
ANYWHERE = 0.3
# From this cost on, places away from the object are tried as well.
POOR = 1.0
# A label stays put while its object moves less than this share of the label's height.
STILLNESS = 0.3
_FREE = -1  # the spot of a label that stands away from its box


class Place(NamedTuple):
    """Index of the form, and upper left corner, of a label."""

    form: int
    x: int
    y: int


class _Kept(NamedTuple):
    place: Place
    spot: int
    offset: np.ndarray  # of the corner from the middle of the object's box


class Labeller:
    """Places the labels of a video, or of a panel of it, frame after frame, without hopping.

    Labels that were there in the last frame are placed first, and rather where they were, seen
    from their object; they stay put as long as it moves by a few pixels only.
    """

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}

    def place(
        self,
        ids: Sequence[int],
        sizes: Sequence[Sequence[tuple[int, int]]],
        boxes: Sequence[tuple[int, int, int, int]],
        owners: np.ndarray,
        step: int,
        picture: tuple[int, int],
    ) -> list[Place | None]:
        """Finds a place and a form for every label of the next frame.

        Args:
            ids: (N,) tracks.
            sizes: (width, height) of each form of each label, the fullest first.
            boxes: The box that each label belongs to.
            owners: (h, w) position in ``ids``, plus 1, of the object seen in each cell; 0 for none.
            step: Pixels to a side of a cell.
            picture: (W, H).

        Returns:
            The places, inside the picture; None for a label whose forms are all too large. Labels
            meet only where not even their ids have room.
        """
        ranks = {track: rank for rank, track in enumerate(self._kept)}
        kept, taken = {}, np.zeros((0, 4), int)
        places: list[Place | None] = [None] * len(ids)
        everything = cv2.integral((owners > 0).view(np.uint8))
        for index in sorted(range(len(ids)), key=lambda one: ranks.get(ids[one], len(ranks))):
            own = cv2.integral((owners == index + 1).view(np.uint8))
            label = _Label(
                sizes=np.array(sizes[index]),
                box=np.array(boxes[index]),
                covered=(own, everything - own),
                step=step,
                taken=taken,
                picture=np.array(picture),
                others=len(ids) - 1,
            )
            found = label.best(self._kept.get(ids[index]))
            if found is not None:
                kept[ids[index]], places[index] = found, found.place
                form, *corner = found.place
                taken = np.vstack([taken, [*corner, *(corner + label.sizes[form])]])
        self._kept = kept
        return places


@dataclass(frozen=True)
class _Label:
    """A label to be placed."""

    sizes: np.ndarray  # (forms, 2) width and height
    box: np.ndarray  # (4,) of its object
    covered: Sequence[np.ndarray]  # integral images of the cells of its object, and of all others
    step: int  # pixels to a side of a cell
    taken: np.ndarray  # (P, 4) rectangles of the labels placed before
    picture: np.ndarray  # (2,) W and H
    others: int  # number of other labels

    def best(self, before: _Kept | None) -> _Kept | None:
        """Gives the best place; None if the picture is too small for all forms."""
        fits = np.flatnonzero((self.sizes <= self.picture).all(axis=1)).tolist()
        if not fits:
            return None
        centre = (self.box[:2] + self.box[2:]) / 2
        candidates = np.concatenate([self._around_box(form) for form in fits])
        staying = len(candidates)
        kept = before is not None and before.place.form in fits
        if kept:
            candidates = np.vstack([candidates, self._again(before, centre)])
        cost = self._cost(candidates)
        cost[staying:] += STAYING
        if cost.min() > POOR:
            anywhere = self._anywhere(fits[-1])
            cost = np.concatenate([cost, self._cost(anywhere) + ANYWHERE])
            candidates = np.concatenate([candidates, anywhere])
        index = int(cost.argmin())
        form, spot, x, y = candidates[index].tolist()
        offset = before.offset if kept and index == staying else (x, y) - centre
        return _Kept(Place(form, x, y), spot, offset)

    def _around_box(self, form):
        (x0, y0, x1, y1), (width, height) = self.box, self.sizes[form]
        columns = ((x0 + x1 - width) // 2, x0, x1 - width)
        middle = (y0 + y1 - height) // 2
        rows = (y0 - height - 2, y1 + 2, y0 + 2, y1 - height - 2, middle)
        corners = [(x, y) for y in rows for x in columns]
        corners += [(x1 + 2, middle), (x0 - width - 2, middle)]
        return self._candidates(form, range(len(corners)), corners)

    def _again(self, before, centre):
        """Gives the place of the frame before, seen from the object."""
        form, *corner = before.place
        moved = self._candidates(form, before.spot, centre + before.offset)
        if before.spot != _FREE:
            moved = self._around_box(form)[before.spot, None]
        if np.abs(moved[:, 2:] - corner).max() <= STILLNESS * self.sizes[form][1]:
            moved = self._candidates(form, before.spot, corner)
        return moved

    def _anywhere(self, form):
        """Gives places all over the picture."""
        steps = np.maximum(self.sizes[form] // (3, 2), 1)
        ends = self.picture - self.sizes[form]
        axes = [np.append(np.arange(0, *pair), pair[0]) for pair in zip(ends, steps, strict=True)]
        return self._candidates(form, _FREE, np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2))

    def _candidates(self, form, spots, corners):
        corners = np.clip(corners, 0, self.picture - self.sizes[form]).astype(int).reshape(-1, 2)
        rows = np.full((len(corners), 4), form)
        rows[:, 1], rows[:, 2:] = spots, corners
        return rows

    def _cost(self, candidates):
        forms, corners = candidates[:, 0], candidates[:, 2:]
        sizes, areas = self.sizes[forms], self.sizes.prod(axis=1)
        rects = np.concatenate([corners, corners + sizes], axis=1)
        own, others = (self._area_in(rects, covered) for covered in self.covered)
        gap = np.maximum(self.box[:2] - rects[:, 2:], rects[:, :2] - self.box[2:])
        middle = (self.box[0] + self.box[2]) / 2
        above = np.stack([middle - sizes[:, 0] / 2, self.box[1] - sizes[:, 1]], axis=1)
        low = np.maximum(rects[:, None, :2], self.taken[:, :2])
        high = np.minimum(rects[:, None, 2:], self.taken[:, 2:])
        meeting = np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)
        cost = (MEETING * meeting + HIDING * others + HIDING_OWN * own) / areas[-1]
        cost += GAP * np.clip(gap - 2, 0, None).sum(axis=1) / sizes[:, 1]
        cost += np.abs(corners - above).sum(axis=1) / self.picture.sum()
        cost += CROWDING * self.others * areas[forms] / self.picture.prod()
        return cost + SHORTENING * forms

    def _area_in(self, rects, covered):
        """Pixels of each of (M, 4) rectangles that are covered, to a cell: (M,)."""
        limit = np.array(covered.shape[::-1]) - 1
        x0, y0 = np.minimum(rects[:, :2] // self.step, limit).T
        x1, y1 = np.minimum(-(-rects[:, 2:] // self.step), limit).T
        cells = covered[y1, x1] - covered[y0, x1] - covered[y1, x0] + covered[y0, x0]
        return cells * float(self.step**2)
