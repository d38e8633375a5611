"""Where the labels of a frame stand: apart, near their objects, and still from frame to frame.

Legend: H, W the picture; N labels; a box or rectangle is (x0, y0, x1, y1) in pixels, its end
exclusive. A label has forms, from the fullest to its id alone.
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
_ANCHOR, _FREE = -1, -2


class Place(NamedTuple):
    """Where a label stands.

    Attributes:
        form: Which of its forms is shown.
        x: Left end.
        y: Upper end.
    """

    form: int
    x: int
    y: int


@dataclass(frozen=True)
class Coverage:
    """What the objects of a picture cover, coarsely.

    Attributes:
        cells: (N, h, w) uint8, 1 where an object covers a cell.
        step: Pixels to a side of a cell.
    """

    cells: np.ndarray
    step: int

    def sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Gives integral images (h + 1, w + 1) of all objects together, and (N, ...) of each."""
        together = cv2.integral(self.cells.max(axis=0, initial=0))
        each = [cv2.integral(cells) for cells in self.cells]
        return together, np.array(each).reshape(len(self.cells), *together.shape)

    def middle(self, index: int) -> tuple[int, int] | None:
        """Gives (x, y) of the pixel deepest inside an object; None for one of no whole cell."""
        cells = self.cells[index]
        x, y, w, h = cv2.boundingRect(cells)
        if not w:
            return None
        depth = cv2.distanceTransform(
            np.pad(cells[y : y + h, x : x + w], 1), cv2.DIST_L2, cv2.DIST_MASK_3
        )
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        return (
            int((x + column - 0.5) * self.step),
            int((y + row - 0.5) * self.step),
        )


@dataclass(frozen=True)
class _Kept:
    place: Place
    slot: int
    offset: tuple[float, float]


class Labeller:
    """Places the labels of a video, frame after frame, so that they do not hop about.

    Labels that were there in the last frame are placed first, and rather where they were, seen
    from their object; they stay put as long as it moves by a few pixels only. One object serves
    one video, or one panel of it.
    """

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}

    def place(
        self,
        ids: Sequence[int],
        sizes: Sequence[Sequence[tuple[int, int]]],
        boxes: Sequence[tuple[int, int, int, int]],
        coverage: Coverage,
        width: int,
        height: int,
    ) -> list[Place | None]:
        """Finds a place and a form for every label of the next frame.

        Args:
            ids: (N,) tracks.
            sizes: (width, height) of each form of each label, the fullest first.
            boxes: The box that each label belongs to.
            coverage: What the N objects cover.
            width: W.
            height: H.

        Returns:
            The places, inside the picture; None for a label whose forms are all too large. Labels
            meet only where not even their ids have room.
        """
        order = {track: number for number, track in enumerate(self._kept)}
        turns = sorted(range(len(ids)), key=lambda index: order.get(int(ids[index]), len(order)))
        sums = coverage.sums()
        kept, placed = {}, np.zeros((0, 4))
        places: list[Place | None] = [None] * len(ids)
        for index in turns:
            track = int(ids[index])
            search = _Search(
                sizes[index], boxes[index], coverage, sums, index, placed, (width, height)
            )
            found = search.best(self._kept.get(track))
            if found is not None:
                kept[track] = found
                places[index] = found.place
                placed = np.concatenate([placed, [search.rectangle(found.place)]])
        self._kept = kept
        return places


class _Candidates(NamedTuple):
    """M ways to place a label: forms (M,), corners (M, 2), slots (M,), whether it stays (M,)."""

    forms: np.ndarray
    corners: np.ndarray
    slots: np.ndarray
    stays: np.ndarray


class _Search:
    """The search for the place of one label."""

    def __init__(self, sizes, box, coverage, sums, index, placed, picture):
        self._sizes, self._box, self._placed = np.array(sizes), np.array(box), placed
        self._picture = np.array(picture)
        self._fits = np.flatnonzero((self._sizes <= self._picture).all(axis=1))
        self._middle = coverage.middle(index)
        self._step, (self._together, each) = coverage.step, sums
        self._own, self._others = each[index], len(each) - 1
        self._center = (self._box[:2] + self._box[2:]) / 2

    def best(self, before: _Kept | None) -> _Kept | None:
        """Gives the best place; None if the picture is too small for all forms."""
        if not len(self._fits):
            return None
        candidates = self._near(before)
        cost = self._cost(candidates)
        if cost.min() > POOR:
            elsewhere = self._anywhere()
            cost = np.concatenate([cost, self._cost(elsewhere)])
            pairs = zip(candidates, elsewhere, strict=True)
            candidates = _Candidates(*(np.concatenate(pair) for pair in pairs))
        index = int(cost.argmin())
        corner, slot = candidates.corners[index], int(candidates.slots[index])
        place = Place(int(candidates.forms[index]), int(corner[0]), int(corner[1]))
        offset = before.offset if candidates.stays[index] else tuple(corner - self._center)
        return _Kept(place, slot, offset)

    def rectangle(self, place: Place) -> np.ndarray:
        """Gives what a placed label covers: (4,)."""
        return np.array([place.x, place.y, *(self._sizes[place.form] + place[1:])])

    def _near(self, before):
        """Lists places around and inside the box, and where the label was."""
        forms, corners, slots = [], [], []
        shortest = len(self._sizes) - 1
        for form in self._fits.tolist():
            around = _around_box(self._box, *self._sizes[form])
            forms += [form] * len(around)
            corners += around
            slots += range(len(around))
            if form == shortest and self._middle is not None:
                forms.append(form)
                corners.append(tuple(self._middle - self._sizes[form] // 2))
                slots.append(_ANCHOR)
        stays = [False] * len(forms)
        if before is not None and before.place.form in self._fits:
            form, slot = before.place.form, before.slot
            corner = self._center + before.offset
            if slot >= 0:
                corner = _around_box(self._box, *self._sizes[form])[slot]
            still = STILLNESS * self._sizes[form][1]
            moved = np.abs(self._inside(form, corner) - before.place[1:]).max()
            forms.append(form)
            corners.append(before.place[1:] if moved <= still else corner)
            slots.append(slot)
            stays.append(True)
        forms = np.array(forms)
        return _Candidates(forms, self._inside(forms, corners), np.array(slots), np.array(stays))

    def _anywhere(self):
        """Lists places all over the picture for the shortest form that fits."""
        form = self._fits[-1]
        (label_w, label_h), room = self._sizes[form], self._picture - self._sizes[form]
        xs = np.append(np.arange(0, room[0], max(1, label_w // 3)), room[0])
        ys = np.append(np.arange(0, room[1], max(1, label_h // 2)), room[1])
        corners = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        alike = np.ones(len(corners), int)
        return _Candidates(form * alike, corners, _FREE * alike, alike == 0)

    def _inside(self, form, corner):
        return np.clip(corner, 0, self._picture - self._sizes[form]).astype(int)

    def _cost(self, candidates):
        sizes, corners = self._sizes[candidates.forms], candidates.corners
        rects = np.concatenate([corners, corners + sizes], axis=1)
        areas = self._sizes.prod(axis=1)
        own, together = self._covered(self._own, rects), self._covered(self._together, rects)
        gap = np.maximum(self._box[:2] - rects[:, 2:], rects[:, :2] - self._box[2:])
        above = np.stack([self._center[0] - sizes[:, 0] / 2, self._box[1] - sizes[:, 1]], axis=1)
        cost = MEETING * _overlap(rects, self._placed) / areas[-1]
        cost += (HIDING * (together - own) + HIDING_OWN * own) / areas[-1]
        cost += GAP * np.clip(gap - 2, 0, None).sum(axis=1) / sizes[:, 1]
        cost += np.abs(corners - above).sum(axis=1) / self._picture.sum()
        cost += SHORTENING * candidates.forms
        cost += CROWDING * self._others * areas[candidates.forms] / self._picture.prod()
        cost += np.where(candidates.slots == _FREE, ANYWHERE, 0)
        return cost + np.where(candidates.stays, STAYING, 0)

    def _covered(self, sums, rects):
        """Area of each of (M, 4) rectangles that objects cover, to a cell: (M,)."""
        limit = np.array(sums.shape[::-1]) - 1
        x0, y0 = np.minimum(rects[:, :2] // self._step, limit).T
        x1, y1 = np.minimum(-(-rects[:, 2:] // self._step), limit).T
        cells = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
        return cells * float(self._step**2)


def _around_box(box, label_w, label_h):
    x0, y0, x1, y1 = box
    columns = ((x0 + x1 - label_w) // 2, x0, x1 - label_w)
    middle = (y0 + y1 - label_h) // 2
    rows = (y0 - label_h - 2, y1 + 2, y0 + 2, y1 - label_h - 2, middle)
    beside = [(x1 + 2, middle), (x0 - label_w - 2, middle)]
    return [(x, y) for y in rows for x in columns] + beside


def _overlap(rects, others):
    """Area of each of (M, 4) rectangles that (P, 4) others hide, counted once per other: (M,)."""
    low = np.maximum(rects[:, None, :2], others[None, :, :2])
    high = np.minimum(rects[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)
