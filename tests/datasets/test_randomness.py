import pickle
import random

import numpy as np
import torch

from vispropnet.datasets.randomness import SampleIndex, global_seed, random_key


def test_index_keeps_its_key_through_what_wrappers_do():
    index = SampleIndex(17, (3, 2, 17))
    assert index == 17
    assert (index % 10, random_key(index % 10)) == (7, (3, 2, 17))
    assert (index - 12, random_key(index - 12)) == (5, (3, 2, 17))
    copied = pickle.loads(pickle.dumps(index))
    assert (copied, random_key(copied)) == (17, (3, 2, 17))


def test_plain_integers_stand_for_seed_and_epoch_zero():
    assert random_key(5) == (0, 0, 5)


def test_global_seed_seeds_all_and_puts_all_back():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = draw()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    with global_seed(7):
        inside = draw()
    assert draw() == expected
    with global_seed(7):
        assert draw() == inside
    assert inside != expected
