"""Dividing videos between training and validation so that both get their share of all categories.

Videos hold objects of several categories, which rules out dividing category by category; the
rarest category goes first instead, as in iterative stratification (Sechidis, Tsoumakas and
Vlahavas, 2011). Then videos are exchanged as long as that brings a category onto a side that lacks
it, or mends a share that is off by a video or more, as it comes to be where many videos hold
several categories. All counts are whole numbers and the generator is Python's own, so the outcome
is the same on every machine.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

TRAIN, VALID = 0, 1

# Orders tried as long as a category is missing on a side.
_ATTEMPTS = 10


def stratify(
    held: Sequence[Sequence[int]], num_categories: int, num_valid: int, seed: int
) -> list[int]:
    """Gives each video a side.

    A category that at least two videos hold gets onto both sides as far as exchanges of two videos
    can bring it there, with a share of its videos near that of all. One that a single video holds
    goes to training, unless that keeps another off a side. At least one video with objects is on
    each side, if there are two.

    Args:
        held: For each video the categories that it holds objects of, as numbers from 0.
        num_categories: How many categories there are.
        num_valid: How many videos validation gets; at least 1, and not all of them.
        seed: From 0.

    Returns:
        For each video ``TRAIN`` or ``VALID``.
    """
    generator = random.Random(seed)
    # Two labels more: "some object", so that no side is without any, and "no object".
    some, none = num_categories, num_categories + 1
    labels = [(*categories, some if categories else none) for categories in held]
    totals = [0] * (num_categories + 2)
    for label in itertools.chain.from_iterable(labels):
        totals[label] += 1
    on_both = [total > 1 and label != none for label, total in enumerate(totals)]
    # Wanted are numbers of videos times the number of all videos: whole numbers, exact ties.
    unit = len(labels)
    wanted = [total * num_valid for total in totals]
    for label in range(num_categories + 1):
        least, most = (unit, (totals[label] - 1) * unit) if on_both[label] else (0, 0)
        wanted[label] = min(max(wanted[label], least), most)
    best, fewest = None, math.inf
    heard = labels
    for _ in range(_ATTEMPTS):
        draws = [generator.random() for _ in labels]
        order = sorted(range(unit), key=draws.__getitem__)
        sides = _share_out(heard, wanted, num_valid, order, generator)
        division = _Division(labels, sides, wanted, on_both, order)
        division.exchange(only_missing=True)
        missing = sum(map(division.lacks, range(len(totals))))
        if missing < fewest:
            best, fewest = division, missing
        if fewest == 0:
            break
        # A label of a single video has a wish only as long as it keeps no other off a side.
        heard = [tuple(one for one in own if on_both[one] or one >= some) for own in labels]
    best.exchange(only_missing=False)
    return best.sides


def _share_out(
    labels: Sequence[tuple[int, ...]],
    wanted_valid: Sequence[int],
    num_valid: int,
    order: Sequence[int],
    generator: random.Random,
) -> list[int]:
    """Iterative stratification, with sides that are closed when they are full."""
    unit = len(labels)
    members: list[list[int]] = [[] for _ in wanted_valid]
    for video in order:
        for label in labels[video]:
            members[label].append(video)
    left = [len(videos) for videos in members]
    wanted = [
        [count * unit - valid for count, valid in zip(left, wanted_valid, strict=True)],
        list(wanted_valid),
    ]
    room = [unit - num_valid, num_valid]
    sides = [-1] * unit
    while any(left):
        rarest = min((label for label, count in enumerate(left) if count), key=left.__getitem__)
        for video in members[rarest]:
            if sides[video] >= 0:
                continue
            train, valid = ((wanted[side][rarest], room[side]) for side in (TRAIN, VALID))
            if 0 in room:
                side = TRAIN if room[TRAIN] else VALID
            elif train == valid:
                side = TRAIN if generator.random() < 0.5 else VALID
            else:
                side = TRAIN if train > valid else VALID
            sides[video] = side
            room[side] -= 1
            for label in labels[video]:
                left[label] -= 1
                wanted[side][label] -= unit
    return sides


class _Division:
    """Videos with their labels and sides, to be mended by exchanges.

    ``wanted_valid`` is in videos of a label times all videos, as in :func:`stratify`. The last one
    in ``order`` stands for all videos of the same labels on its side.
    """

    def __init__(
        self,
        labels: Sequence[tuple[int, ...]],
        sides: list[int],
        wanted_valid: Sequence[int],
        on_both: Sequence[bool],
        order: Sequence[int],
    ) -> None:
        self.labels, self.sides, self.on_both, self.order = labels, sides, on_both, order
        # Of each label, the videos that a side holds, and what validation has in excess.
        self.held = [[0] * len(on_both), [0] * len(on_both)]
        for video, side in enumerate(sides):
            for label in labels[video]:
                self.held[side][label] += 1
        self.unit = len(labels)
        pairs = zip(self.held[VALID], wanted_valid, strict=True)
        self.excess = [held * self.unit - wanted for held, wanted in pairs]

    def lacks(self, label: int) -> bool:
        """Says if a label is missing on a side that should be on both."""
        return self.on_both[label] and 0 in (self.held[TRAIN][label], self.held[VALID][label])

    def exchange(self, only_missing: bool) -> None:
        """Exchanges videos as long as that mends a label that is off by a video or more.

        With ``only_missing``, labels that are on both sides are not looked at.
        """
        mended = True
        while mended:
            mended = False
            for label, excess in enumerate(self.excess):
                if abs(excess) < self.unit or (only_missing and not self.lacks(label)):
                    continue
                to = VALID if excess < 0 else TRAIN

                coming, going = (
                    {self.labels[one]: one for one in self.order if self.sides[one] == side}
                    for side in (1 - to, to)
                )
                pair = self._best_pair(
                    [kind for kind in coming if label in kind],
                    [kind for kind in going if label not in kind],
                    to,
                )
                if pair is not None:
                    self._move(coming[pair[0]], to)
                    self._move(going[pair[1]], 1 - to)
                    mended = True

    def _move(self, video: int, to: int) -> None:
        self.sides[video] = to
        for label in self.labels[video]:
            self.held[to][label] += 1
            self.held[1 - to][label] -= 1
            self.excess[label] += self.unit if to == VALID else -self.unit

    def _best_pair(
        self, coming: Sequence[tuple[int, ...]], going: Sequence[tuple[int, ...]], side: int
    ) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """The exchange that gets most missing labels onto a side; among equals, the fairest.

        Unfairness is the sum of the squares of what labels have in excess on the validation side.
        None if no exchange is an improvement.
        """
        best, best_cost = None, (0, 0)
        for new, old in itertools.product(coming, going):
            missing = unfairness = 0
            for gained, lost, to in ((new, old, side), (old, new, 1 - side)):
                sign = 1 if to == VALID else -1
                for label in set(gained).difference(lost):
                    if self.on_both[label]:
                        missing += (self.held[1 - to][label] == 1) - (self.held[to][label] == 0)
                    unfairness += 2 * sign * self.excess[label] + self.unit
            if (missing, unfairness) < best_cost:
                best, best_cost = (new, old), (missing, unfairness)
        return best
