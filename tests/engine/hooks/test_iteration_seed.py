from types import SimpleNamespace

import torch

from vispropnet.engine.hooks.iteration_seed import IterationSeedHook, iteration_seed


def draw(seed, iteration):
    runner = SimpleNamespace(seed=seed, iter=iteration)
    IterationSeedHook().before_train_iter(runner, batch_idx=0)
    return torch.rand(3).tolist()


def test_draws_depend_on_seed_iteration_and_rank_only():
    torch.manual_seed(1)
    first = [draw(0, 5), draw(0, 6), draw(1, 5)]
    torch.manual_seed(2)
    torch.rand(10)
    assert [draw(0, 5), draw(0, 6), draw(1, 5)] == first
    assert len({tuple(one) for one in first}) == 3
    assert iteration_seed(0, 0, 5) != iteration_seed(0, 1, 5)
