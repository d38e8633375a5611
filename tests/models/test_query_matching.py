import itertools
import math

import pytest
import torch

from vispropnet.models.trackers import cosine_similarities, match_queries

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]


def slow_cosine(one, other):
    lengths = [math.sqrt(sum(value**2 for value in some)) for some in (one, other)]
    return sum(a * b for a, b in zip(one, other, strict=True)) / (lengths[0] * lengths[1])


def slow_match(similarities):
    """The best of all permutations."""
    count = len(similarities)
    sums = {
        order: sum(similarities[track][query] for track, query in enumerate(order))
        for order in itertools.permutations(range(count))
    }
    return list(max(sums, key=sums.get))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.half, torch.bfloat16])
def test_similarities_are_cosines_in_single_precision(device, dtype):
    first, second = torch.randn(3, 4).to(device, dtype), torch.randn(2, 4).to(device, dtype)
    expected = [[slow_cosine(a, b) for b in second.tolist()] for a in first.tolist()]
    with torch.autocast(device, torch.bfloat16):
        found = cosine_similarities(first * 100, second)
    assert found.dtype == torch.float32
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2  # of the product with 100
    torch.testing.assert_close(found.cpu(), torch.tensor(expected), rtol=0, atol=tolerance)
    assert cosine_similarities(first * 0, second).abs().max() == 0


def test_the_sum_of_similarities_is_the_largest_of_all_permutations():
    for count in (1, 2, 5):
        for _ in range(8):
            table = cosine_similarities(torch.randn(count, 3), torch.randn(count, 3))
            found = match_queries(table)
            assert found.dtype == torch.long
            assert found.tolist() == slow_match(table.tolist())


def test_not_the_best_first():
    # The best pair, 0.9, would leave -1 for the other track.
    table = torch.tensor([[0.9, 0.8], [0.7, -1.0]])
    assert match_queries(table).tolist() == [1, 0]


def test_similarities_that_are_no_numbers_are_none():
    table = torch.tensor([[math.nan, 0.5], [0.1, 0.4]])
    assert match_queries(table).tolist() == [1, 0]
