import math

import pytest
import torch
from torch import nn

from vispropnet.ops.temporal_roi_align import (
    average_over_frames,
    embed_positions,
    embedded_products,
    folded_products,
    gathered_products,
    most_similar,
    read_found,
    read_similar,
)


def slow_read(cells, support, num):
    """The definition, cell by cell, with Python's numbers."""
    rows = []
    for cell in cells:
        cosines = [
            float(cell @ other / max(float(cell.norm() * other.norm()), 1e-16)) for other in support
        ]
        best = sorted(range(len(support)), key=lambda place: -cosines[place])[:num]
        weights = [math.exp(cosines[place]) for place in best]
        rows.append(
            sum(weight * support[place] for weight, place in zip(weights, best, strict=True))
            / sum(weights)
        )
    return torch.stack(rows)


def slow_average(target, found, embed, num_heads):
    """The definition, RoI by RoI, cell by cell, head by head."""
    frames, out = [target, *found], torch.zeros_like(target)
    embeddings = [embed(one) for one in frames]
    size = target.shape[1] // num_heads
    for roi in range(len(target)):
        for y in range(target.shape[2]):
            for x in range(target.shape[3]):
                for head in range(num_heads):
                    part = (roi, slice(head * size, (head + 1) * size), y, x)
                    scores = [
                        float(one[part] @ embeddings[0][part]) / math.sqrt(size)
                        for one in embeddings
                    ]
                    weights = [math.exp(score - max(scores)) for score in scores]
                    mean = sum(
                        weight * one[part] for weight, one in zip(weights, frames, strict=True)
                    )
                    out[part] = mean / sum(weights)
    return out


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('num', [1, 3, 7, 9])
def test_cells_read_what_is_most_similar(num):
    cells, support = draw(5, 4), draw(7, 4, seed=1)
    positions = most_similar(cells, support, num).positions
    assert positions.shape == (5, min(num, 7))
    torch.testing.assert_close(
        read_similar(cells, support, positions), slow_read(cells, support, num)
    )


def test_weights_are_the_softmax_of_the_cosines():
    cells = torch.tensor([[2.0, 0.0]])
    for second, weight in (((0.0, 5.0), 0.731059), ((0.9, math.sqrt(0.19)), 0.524979)):
        support = torch.tensor([second, (3.0, 0.0)])
        positions = most_similar(cells, support, 2).positions
        assert positions.tolist() == [[1, 0]]
        expected = weight * support[1] + (1 - weight) * support[0]
        torch.testing.assert_close(read_similar(cells, support, positions)[0], expected)


def test_the_length_of_a_cell_and_the_order_of_positions_change_nothing():
    cells, support = draw(6, 8), draw(20, 8, seed=1)
    read = read_similar(cells, support, most_similar(cells, support, 3).positions)
    torch.testing.assert_close(
        read_similar(3 * cells, support, most_similar(3 * cells, support, 3).positions), read
    )
    shuffled = support[torch.randperm(20, generator=torch.Generator().manual_seed(2))]
    torch.testing.assert_close(
        read_similar(cells, shuffled, most_similar(cells, shuffled, 3).positions), read
    )
    positions = most_similar(cells, 5 * support, 3).positions
    assert torch.equal(positions, most_similar(cells, support, 3).positions)
    torch.testing.assert_close(read_similar(cells, 5 * support, positions), 5 * read)


def test_blocks_change_nothing():
    cells, support = draw(9, 4), draw(11, 4, seed=1)
    whole = most_similar(cells, support, 2).positions
    for budget in (1, 2 * 11 * 8, 10**9):
        assert torch.equal(most_similar(cells, support, 2, budget).positions, whole)


def test_features_of_zeros_are_read_without_nan():
    cells = torch.tensor([[1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    support = torch.tensor([[0.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    positions = most_similar(cells, support, 2).positions
    assert positions[0].tolist() == [0, 1]  # a cosine of 0 is above one of -1
    read = read_similar(cells, support, positions)
    read.sum().backward()
    assert read.isfinite().all() and cells.grad.isfinite().all() and support.grad.isfinite().all()


def test_gradients_are_those_of_the_full_similarity():
    cells, support = draw(4, 3).requires_grad_(), draw(6, 3, seed=1).requires_grad_()
    positions = most_similar(cells, support, 2).positions
    assert torch.autograd.gradcheck(lambda *both: read_similar(*both, positions), (cells, support))
    read_similar(cells, support, positions).square().sum().backward()
    ours = cells.grad.clone(), support.grad.clone()
    cells.grad = support.grad = None
    similarity = nn.functional.normalize(cells) @ nn.functional.normalize(support).t()
    weights, indices = similarity.topk(2)
    (weights.softmax(1)[..., None] * support[indices]).sum(1).square().sum().backward()
    torch.testing.assert_close(cells.grad, ours[0])
    torch.testing.assert_close(support.grad, ours[1])


@pytest.mark.parametrize('num_frames', [0, 1, 3])
@pytest.mark.parametrize('num_heads', [1, 2])
def test_frames_are_weighted_by_head(num_frames, num_heads):
    torch.manual_seed(0)
    embed = nn.Conv2d(4, 4, 3, padding=1).double()
    target = draw(2, 4, 3, 2).requires_grad_()
    found = [draw(2, 4, 3, 2, seed=1 + number).requires_grad_() for number in range(num_frames)]
    with torch.no_grad():
        expected = slow_average(target, found, embed, num_heads)
    frames = torch.stack([target, *found])
    weights = embed.weight, embed.bias, num_heads
    ours = average_over_frames(frames, *weights)
    torch.testing.assert_close(ours, expected)
    with torch.no_grad():
        torch.testing.assert_close(average_over_frames(frames, *weights), expected)
    assert torch.autograd.gradcheck(
        lambda *one: average_over_frames(torch.stack(one), *weights), (target, *found)
    )
    if num_frames == 0:
        assert torch.equal(ours, target)
    other_order = torch.stack([target, *found[::-1]])
    torch.testing.assert_close(average_over_frames(other_order, *weights), ours)
    assert (ours <= frames.amax(0) + 1e-12).all() and (ours >= frames.amin(0) - 1e-12).all()


def test_equal_weights_without_heads_and_with_a_convolution_of_zeros():
    target, found = draw(2, 4, 3, 3), [draw(2, 4, 3, 3, seed=1), draw(2, 4, 3, 3, seed=2)]
    mean = (target + found[0] + found[1]) / 3
    frames = torch.stack([target, *found])
    torch.testing.assert_close(average_over_frames(frames), mean)
    weights = torch.zeros(4, 4, 3, 3).double(), torch.zeros(4).double()
    torch.testing.assert_close(average_over_frames(frames, *weights, num_heads=2), mean)


@pytest.mark.parametrize(
    'shape', [(4, 2, 6, 3, 5), (2, 1, 6, 1, 1), (1, 3, 6, 7, 7), (3, 1, 6, 2, 2)]
)
def test_the_folded_products_are_those_of_the_embeddings(shape):
    torch.manual_seed(0)
    embed = nn.Conv2d(6, 6, 3, padding=1).double()
    frames = draw(*shape)
    for num_heads in (1, 2, 3):
        torch.testing.assert_close(
            folded_products(frames, embed.weight, embed.bias, num_heads),
            embedded_products(frames, embed.weight, embed.bias, num_heads),
        )


@pytest.mark.parametrize('num', [1, 3])
@pytest.mark.parametrize('size', [(1, 1), (3, 2), (7, 7)])
def test_what_was_found_is_embedded_as_what_was_read(num, size):
    torch.manual_seed(0)
    embed = nn.Conv2d(6, 6, 3, padding=1).double()
    target = draw(2, 6, *size)
    cells = target.permute(0, 2, 3, 1).flatten(0, 2)
    # Frames of different sizes, as those of a video cut to what is not padding may be.
    support = [draw(5, 6, seed=1), draw(9, 6, seed=2)]
    found = [most_similar(cells, frame, num) for frame in support]
    read = [read_found(*both) for both in zip(support, found, strict=True)]
    for one, frame in zip(read, support, strict=True):
        torch.testing.assert_close(one, slow_read(cells, frame, num))
    frames = [one.view(2, *size, 6).permute(0, 3, 1, 2) for one in read]
    frames = torch.stack([target, *frames])
    tables = [embed_positions(frame, embed.weight) for frame in support]
    for num_heads in (1, 2, 3):
        products = gathered_products(target, found, tables, embed.weight, embed.bias, num_heads)
        torch.testing.assert_close(
            products, embedded_products(frames, embed.weight, embed.bias, num_heads)
        )
        weights = embed.weight, embed.bias, num_heads
        with torch.no_grad():
            torch.testing.assert_close(
                average_over_frames(frames, *weights, (found, tables)),
                average_over_frames(frames, *weights),
            )


def test_features_of_zeros_are_found_without_nan():
    found = most_similar(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]), 2)
    assert found.shares.tolist() == [[0.5, 0.5]]


def test_large_products_do_not_overflow():
    target = torch.full((1, 2, 1, 1), 100.0)
    found = [torch.full((1, 2, 1, 1), 200.0), torch.full((1, 2, 1, 1), -300.0)]
    same = torch.zeros(2, 2, 3, 3)
    same[[0, 1], [0, 1], 1, 1] = 1.0
    averaged = average_over_frames(torch.stack([target, *found]), same, torch.zeros(2), 1)
    torch.testing.assert_close(averaged, found[0])


def test_half_precision_is_searched_in_single():
    # Both cosines are 1 in half precision, and the first of equals would be found.
    cells = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16)
    support = torch.tensor([[1.0, 0.03125], [1.0, 0.015625]], dtype=torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert most_similar(cells, support, 1).positions.tolist() == [[1]]
        assert read_similar(cells, support, torch.tensor([[1]])).dtype == torch.float32
