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
    best, fewest = ([], []), math.inf
    heard = labels
    for _ in range(_ATTEMPTS):
        draws = [generator.random() for _ in labels]
        order = sorted(range(unit), key=draws.__getitem__)
        sides = _share_out(heard, wanted, num_valid, order, generator)
        missing = _exchange(labels, sides, wanted, on_both, order, only_missing=True)
        if missing < fewest:
            best, fewest = (sides, order), missing
        if fewest == 0:
            break
        # A label of a single video has a wish only as long as it keeps no other off a side.
        heard = [tuple(one for one in own if on_both[one] or one >= some) for own in labels]
    sides, order = best
    _exchange(labels, sides, wanted, on_both, order, only_missing=False)
    return sides


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


def _exchange(
    labels: Sequence[tuple[int, ...]],
    sides: list[int],
    wanted_valid: Sequence[int],
    on_both: Sequence[bool],
    order: Sequence[int],
    only_missing: bool,
) -> int:
    """Exchanges videos, in place, as long as that mends a label that is off by a video or more.

    With ``only_missing``, labels that are on both sides are not looked at. Returns how many labels
    are still missing on a side.
    """
    unit = len(labels)
    held = [[0] * len(on_both), [0] * len(on_both)]
    for video, side in enumerate(sides):
        for label in labels[video]:
            held[side][label] += 1
    excess = [held[VALID][label] * unit - wanted for label, wanted in enumerate(wanted_valid)]
    kinds = _kinds(labels, sides, order)
    mended = True
    while mended:
        mended = False
        for label in range(len(on_both)):
            lacks = on_both[label] and 0 in (held[TRAIN][label], held[VALID][label])
            if abs(excess[label]) < unit or (only_missing and not lacks):
                continue
            side = VALID if excess[label] < 0 else TRAIN
            coming, going = kinds[1 - side], kinds[side]
            pair = _best_pair(
                [kind for kind in coming if label in kind],
                [kind for kind in going if label not in kind],
                side,
                held,
                excess,
                on_both,
                unit,
            )
            if pair is None:
                continue
            for video, to in ((coming[pair[0]], side), (going[pair[1]], 1 - side)):
                sides[video] = to
                for one in labels[video]:
                    held[to][one] += 1
                    held[1 - to][one] -= 1
                    excess[one] += unit if to == VALID else -unit
            kinds = _kinds(labels, sides, order)
            mended = True
    lowest = map(min, *held)
    return sum(both and low == 0 for both, low in zip(on_both, lowest, strict=True))


def _kinds(
    labels: Sequence[tuple[int, ...]], sides: Sequence[int], order: Sequence[int]
) -> list[dict[tuple[int, ...], int]]:
    """For each side a video for each combination of labels: those of the same labels are alike."""
    return [{labels[one]: one for one in order if sides[one] == side} for side in (TRAIN, VALID)]


def _best_pair(
    coming: Sequence[tuple[int, ...]],
    going: Sequence[tuple[int, ...]],
    side: int,
    held: Sequence[Sequence[int]],
    excess: Sequence[int],
    on_both: Sequence[bool],
    unit: int,
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The exchange that gets most missing labels onto a side; among equals, the fairest.

    Unfairness is the sum of the squares of what labels have in excess on the validation side. None
    if no exchange is an improvement.
    """
    best, best_cost = None, (0, 0)
    for new in coming:
        for old in going:
            missing = unfairness = 0
            for gained, lost, to in ((new, old, side), (old, new, 1 - side)):
                sign = 1 if to == VALID else -1
                for label in gained:
                    if label in lost:
                        continue
                    if on_both[label]:
                        missing += (held[1 - to][label] == 1) - (held[to][label] == 0)
                    unfairness += 2 * sign * excess[label] + unit
            if (missing, unfairness) < best_cost:
                best, best_cost = (new, old), (missing, unfairness)
    return best
