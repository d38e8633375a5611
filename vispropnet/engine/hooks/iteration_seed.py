"""Randomness of a model as a function of seed, rank and iteration."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from vispropnet.registry import HOOKS


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Makes the model's randomness (RoI sampling, dropout) a function of (seed, rank, iteration).

    With the data's randomness being one of (seed, epoch, sample), a resumed run draws what the
    unbroken one would have drawn, without any generator's state being saved.
    """

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Seeds torch's generators for the coming iteration."""
        torch.manual_seed(iteration_seed(runner.seed, get_rank(), runner.iter))


def iteration_seed(seed: int, rank: int, iteration: int) -> int:
    """Mixes a run's seed, a rank and the iterations done so far into a number in [0, 2**32)."""
    return int(np.random.SeedSequence((seed, rank, iteration)).generate_state(1)[0])
