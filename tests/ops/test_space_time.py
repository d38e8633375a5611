"""The maths of space-time memories, against loops and numbers worked out by hand."""

import math

import pytest
import torch

from vispropnet.ops.space_time import (
    aggregate,
    bootstrapped_cross_entropy,
    hard_share,
    pad_to_multiple,
    read_out,
    unpad,
)


def slow_read(keys, values, query, top_k):
    """Distances one by one, softmax over the nearest."""
    rows = []
    for q in query.tolist():
        scores = []
        for k in keys.tolist():
            distance = sum((a - b) ** 2 for a, b in zip(k, q, strict=True))
            scores.append(-distance / math.sqrt(len(k)))
        order = sorted(range(len(scores)), key=lambda at: -scores[at])[: top_k or len(scores)]
        weights = {at: math.exp(scores[at] - scores[order[0]]) for at in order}
        total = sum(weights.values())
        assert total >= 1
        rows.append(sum(weights[at] / total * values[at] for at in order))
    return torch.stack(rows)


@pytest.mark.parametrize('top_k', [3, None, 1, 100])
@pytest.mark.parametrize('budget', [2**20, 1])
@pytest.mark.parametrize('parts', [(11,), (4, 2, 5)])
def test_read_out_equals_loops(top_k, budget, parts):
    keys, values, query = torch.randn(11, 4), torch.randn(11, 6), torch.randn(7, 4)
    memory = list(zip(keys.split(parts), values.split(parts), strict=True))
    read = read_out(memory, query, top_k, budget)
    torch.testing.assert_close(read, slow_read(keys, values, query, top_k))
    if top_k == 1:
        nearest = torch.cdist(query, keys).argmin(dim=1)
        assert torch.equal(read, values[nearest])


def test_weights_sum_to_one_and_far_keys_are_finite():
    keys, query = 1e3 * torch.randn(9, 4), 1e3 * torch.randn(5, 4)
    for top_k in (2, None):
        assert torch.allclose(read_out([(keys, torch.ones(9, 1))], query, top_k), torch.ones(5, 1))


def test_read_out_is_single_precision_under_autocast():
    keys, values, query = torch.randn(9, 4), torch.randn(9, 3), torch.randn(5, 4)
    plain = read_out([(keys, values)], query, 4)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(read_out([(keys, values)], query, 4), plain)
        assert aggregate(torch.rand(2, 3, 4).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize('top_k', [3, None])
def test_gradients_reach_keys_values_and_query(top_k):
    tensors = [torch.randn(*size, dtype=torch.float, requires_grad=True) for size in
               ((6, 2), (6, 3), (4, 2))]  # fmt: skip
    read_out([(tensors[0], tensors[1])], tensors[2], top_k, budget=1).square().sum().backward()
    assert all(one.grad.abs().sum() > 0 for one in tensors)


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ([0.9], [0.0122, 0.9878]),
        ([0.5, 0.5], [1 / 7, 3 / 7, 3 / 7]),
        ([1.0, 1.0], [0, 0.5, 0.5]),
        ([0.0], [1, 0]),
    ],
)
def test_soft_aggregation(given, expected):
    found = aggregate(torch.tensor(given)[:, None, None])
    assert found.flatten().tolist() == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ('iteration', 'share'), [(0, 1), (20_000, 1), (45_000, 0.575), (70_000, 0.15), (99_999, 0.15)]
)
def test_share_of_hard_pixels(iteration, share):
    assert hard_share(iteration, 20_000, 70_000, 0.15) == pytest.approx(share)


def test_cross_entropy_of_the_hardest_pixels():
    right = torch.tensor([[0.9, 0.5], [0.1, 0.2]])
    target = torch.tensor([[0, 1], [1, 0]])
    probabilities = torch.stack([torch.where(target == one, right, 1 - right) for one in (0, 1)])
    for share, hardest in ((1.0, [0.9, 0.5, 0.1, 0.2]), (0.5, [0.1, 0.2]), (0.01, [0.1])):
        expected = -sum(map(math.log, hardest)) / len(hardest)
        loss = bootstrapped_cross_entropy(probabilities, target, share)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(('size', 'padded'), [((480, 854), (480, 864)), ((17, 33), (32, 48))])
def test_padding_and_back(size, padded):
    image = torch.randn(2, *size)
    assert pad_to_multiple(image, 16).shape[1:] == padded
    assert torch.equal(unpad(pad_to_multiple(image, 16), size, 16), image)
