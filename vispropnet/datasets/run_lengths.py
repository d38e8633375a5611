"""Decoding run-length encoded masks, many at once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

# Masks decoded at once stay in the processor's cache: several times faster than all at once.
_BATCH_BYTES = 1 << 17
# cocoapi's runs are unsigned 32-bit integers: at most seven groups of five bits.
_MAX_DIGITS = 7
# Stands for a number that does not have two digits.
_LONGER = np.iinfo(np.int16).min


class Measures(NamedTuple):
    """Measures of M masks, from :func:`measure_counts`."""

    areas: np.ndarray  # (M,) int64, pixels of the object
    totals: np.ndarray  # (M,) int64, pixels that all runs cover
    sound: np.ndarray  # (M,) bool, whether the text is whole and no run is negative
    # (M,) bool, whether no run but the first is empty. pycocotools takes two masks with an empty
    # run at the same pixel for ended there.
    proper: np.ndarray


def measure_counts(counts: Sequence[str | bytes]) -> Measures:
    """Measures M masks by their compressed counts, without drawing them."""
    areas, totals = np.zeros((2, len(counts)), np.int64)
    sound, proper = np.zeros((2, len(counts)), bool)
    for batch in _batches(counts):
        runs, first, whole = decode_many(counts[batch])
        background, areas[batch] = _sums(runs, first)
        totals[batch] = background + areas[batch]
        sound[batch] = whole
        if runs.min() < 0:
            sound[batch] &= np.minimum.reduceat(runs, first) >= 0
        empty = runs == 0
        empty[first] = False
        proper[batch] = ~np.logical_or.reduceat(empty, first) if empty.any() else True
    return Measures(areas, totals, sound, proper)


def decode_counts(counts: str | bytes) -> np.ndarray:
    """Decodes the compressed counts of one mask.

    Returns:
        (R,) int32 run lengths, of background and object in turn; none if the text is damaged.
    """
    runs, _, whole = decode_many([counts])
    return runs if whole[0] else np.zeros(0, np.int32)


def decode_many(counts: Sequence[str | bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decodes the compressed counts of several masks at once.

    A count is a number in groups of five bits, the lowest first, each as one character from '0' on
    (+32: more groups follow); the fifth bit of the last group is the sign. From the fourth run on
    the number is the difference to the run before the last. Source: ``rleFrString`` of cocoapi.

    Args:
        counts: Compressed counts of M masks, M at least 1.

    Returns:
        ``runs`` (R,) int32, the run lengths of all masks, of background and object in turn, as in
        cocoapi modulo 2^32;
        ``first`` (M,) int64, where the runs of each mask begin (each has at least one);
        ``whole`` (M,) bool, false where a text is empty, stops inside a number, or has characters
        or numbers that do not occur; the runs of such a mask mean nothing.
    """
    characters, sizes, whole = _characters(counts)
    begins = np.cumsum(sizes) - sizes
    digits = characters - np.uint8(48)
    if digits.max() > 63:
        whole &= np.maximum.reduceat(digits, begins) <= 63
    more = (digits & np.uint8(0x20)) != 0
    whole &= ~more[begins + sizes - 1]
    more[begins + sizes - 1] = False
    per_mask = np.add.reduceat(~more, begins, dtype=np.int64)
    first = np.cumsum(per_mask) - per_mask
    numbers, too_long = _numbers(digits & np.uint8(0x1F), more)
    whole[np.searchsorted(first, too_long, side='right') - 1] = False
    return _undo_differences(numbers, first), first, whole


def _batches(counts: Sequence[str | bytes]) -> Iterator[slice]:
    upto = np.cumsum(np.fromiter(map(len, counts), np.int64, len(counts)))
    begins = np.flatnonzero(np.diff(upto // _BATCH_BYTES, prepend=-1)).tolist()
    for begin, end in itertools.pairwise([*begins, len(counts)]):
        yield slice(begin, end)


def _characters(counts: Sequence[str | bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joins the texts: all characters (C,) uint8, how many each has (M,), and which had any."""
    texts = [text.decode('latin-1') if isinstance(text, bytes) else text for text in counts]
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    whole = sizes > 0
    if not whole.all():
        texts = [text or '0' for text in texts]
        sizes = np.maximum(sizes, 1)
    joined = ''.join(texts)
    if not joined.isascii():
        joined = re.sub(r'[^\x00-\x7f]', '\x7f', joined)  # one byte that does not occur either
    return np.frombuffer(joined.encode('ascii'), np.uint8), sizes, whole


def _numbers(low: np.ndarray, more: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Puts groups of five bits (C,) uint8 together, over each that says ``more`` (C,).

    Gives the numbers (R,) int32, and the positions of those with too many digits.
    """
    signed = ((low ^ np.uint8(0x10)).view(np.int8) - np.int8(0x10)).astype(np.int16)
    # Nearly all numbers have one or two digits: those are made for all characters in one go.
    values = signed.copy()
    values[1:] += more[:-1] * (signed[1:] * np.int16(31) + low[:-1])
    longer = np.flatnonzero(more[1:-1] & more[:-2] & ~more[2:]) + 2
    values[longer] = _LONGER
    values = values[~more]
    index = np.flatnonzero(values == _LONGER)
    numbers = values.astype(np.int32)
    numbers[index] = signed[longer]
    for digit in range(1, _MAX_DIGITS):
        numbers[index] = numbers[index] * 32 + low[longer - digit]
        goes_on = (longer > digit) & more[longer - digit - 1]
        longer, index = longer[goes_on], index[goes_on]
    return numbers, index


def _undo_differences(numbers: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Adds up, within each mask, every second number: from the fourth on they are differences.

    The sums run through all masks, over numbers of even and of odd index apart, and what came
    before the mask is taken off again.
    """
    total = len(numbers)
    padded = np.zeros(total + 2 + total % 2, np.int32)
    padded[2 : total + 2] = numbers
    sums = np.cumsum(padded.reshape(-1, 2), axis=0, dtype=np.int32).reshape(-1)
    runs = sums[2 : total + 2]
    before = np.stack([sums[first + 2], sums[first + 1]])  # each mask's background, object
    lengths = np.diff(first, append=total)
    for parity in (0, 1):
        taken = np.where(first % 2 == parity, before[0], before[1])
        runs[parity::2] -= np.repeat(taken, lengths)[parity::2]
    runs[first] = numbers[first]
    return runs


def _sums(runs: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums (M,) int64 of each mask's background and object runs."""
    begins_odd = first % 2 == 1
    # Runs of even index in the whole array, and of odd; one more, so that all begin inside.
    even, odd = (
        np.add.reduceat(np.append(runs[parity::2], 0), (first + 1 - parity) // 2, dtype=np.int64)
        for parity in (0, 1)
    )
    objects = np.where(begins_odd, even, odd)
    objects[np.diff(first, append=len(runs)) == 1] = 0  # a mask without object runs
    return np.where(begins_odd, odd, even), objects
