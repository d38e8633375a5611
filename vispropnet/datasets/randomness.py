"""Randomness of a sample as a function of (seed, epoch, sample), whoever loads it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


class SampleIndex(int):
    """An index into a data set that carries what its randomness depends on.

    Samplers yield these, so the key travels with the index to whichever worker loads the sample,
    and through data set wrappers, which compute with indices (``%``, ``-``).

    Args:
        index: The index.
        key: Seed, epoch and sample, each a non-negative integer.
    """

    key: tuple[int, ...]

    def __new__(cls, index: int, key: tuple[int, ...]) -> SampleIndex:
        """Makes the integer and puts the key on it."""
        self = super().__new__(cls, index)
        self.key = key
        return self

    def __mod__(self, other: int) -> SampleIndex:
        return SampleIndex(int(self) % other, self.key)

    def __sub__(self, other: int) -> SampleIndex:
        return SampleIndex(int(self) - other, self.key)

    def __reduce__(self):
        return SampleIndex, (int(self), self.key)


@contextlib.contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seeds the generators of Python, NumPy and torch (CPU) for a block, then puts them back.

    mmcv's and mmdet's transforms draw from these. The seed is in [0, 2**32).
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the transforms draw from this one)
    # Transforms draw on the CPU; seeding all devices takes half a millisecond.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
