import pickle
import random

import numpy as np
import torch

from vispropnet.datasets.randomness import SampleIndex, global_seed


def test_index_keeps_its_key_through_what_wrappers_do():
    index = SampleIndex(17, (3, 2, 17))
    assert index == 17
    for one, value in ((index % 10, 7), (index - 12, 5), (pickle.loads(pickle.dumps(index)), 17)):
        assert (one, one.key) == (value, (3, 2, 17))


def test_global_seed_seeds_all_and_puts_all_back():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    def seed_all():
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)

    seed_all()
    expected = draw()
    seed_all()
    with global_seed(7):
        inside = draw()
    assert draw() == expected != inside
    with global_seed(7):
        assert draw() == inside
