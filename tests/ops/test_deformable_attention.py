"""Multi-scale deformable attention against mmcv's plain form, which it stands in for on a GPU."""

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)

from vispropnet.ops import deformable_attention

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
SIZES = [(5, 7), (3, 4), (1, 2)]


@pytest.fixture(autouse=True)
def stand_in(request, monkeypatch):
    """Ours, also where mmcv was compiled; a few queries at once unless a test says otherwise."""
    from mmcv.ops import multi_scale_deform_attn

    monkeypatch.setattr(multi_scale_deform_attn, 'ext_module', deformable_attention)
    # 2 images, 2 heads, 4 points and 3 channels of 4 bytes: 192 bytes a query.
    monkeypatch.setattr(deformable_attention, 'CHUNK_BYTES', 3 * 192)


def inputs(queries=8, dtype=torch.float64, device='cpu', spread=1.2):
    """Of 2 images, 2 heads with 3 channels, 3 levels, 4 points; some points lie outside."""
    cells = sum(height * width for height, width in SIZES)
    value = torch.randn(2, cells, 2, 3, dtype=torch.float64)
    locations = (torch.rand(2, queries, 2, 3, 4, 2, dtype=torch.float64) - 0.5) * spread + 0.5
    weights = torch.randn(2, queries, 2, 12, dtype=torch.float64).softmax(-1).unflatten(3, (3, 4))
    made = (one.to(device, dtype).requires_grad_() for one in (value, locations, weights))
    return list(made), torch.tensor(SIZES, device=device)


def ours(given, shapes):
    starts = torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])
    return MultiScaleDeformableAttnFunction.apply(given[0], shapes, starts, *given[1:], 64)


def plain(given):
    """mmcv's form in Python, on the CPU in double precision, and its gradients for a weight."""
    given = [one.detach().cpu().double().requires_grad_() for one in given]
    result = multi_scale_deformable_attn_pytorch(given[0], torch.tensor(SIZES), *given[1:])
    weight = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).view_as(result)
    return result, weight, torch.autograd.grad(result, given, weight)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('queries', [8, 1])
@pytest.mark.parametrize(
    ('dtype', 'tolerance'), [(torch.float32, 1e-5), (torch.float64, 1e-12), (torch.half, 2e-2)]
)
def test_values_and_gradients_equal_those_of_the_plain_form(device, queries, dtype, tolerance):
    given, shapes = inputs(queries, dtype, device)
    expected, weight, gradients = plain(given)
    result = ours(given, shapes)
    assert result.shape == (2, queries, 6) and result.dtype == dtype
    torch.testing.assert_close(result.cpu().double(), expected, rtol=0, atol=tolerance)
    found = torch.autograd.grad(result, given, weight.to(device, dtype))
    for one, other in zip(found, gradients, strict=True):
        assert one.dtype == dtype and other.abs().max() > 0.1
        # Those of locations grow with the size of a level.
        torch.testing.assert_close(one.cpu().double(), other, rtol=tolerance, atol=4 * tolerance)


def test_by_hand():
    # One image, head and channel; levels of 2x2 and 1x1. The point in the middle of the first level
    # is the mean of its cells, 2.5; that at (0.25, 0.25) is the centre of the cell of 1; one a
    # quarter of the width outside is worth half of the border's mean at the left, (1 + 3) / 2 / 2.
    value = torch.tensor([1.0, 2, 3, 4, 10]).reshape(1, 5, 1, 1)
    shapes = torch.tensor([[2, 2], [1, 1]])
    points = torch.tensor([[[0.5, 0.5], [0.25, 0.25]], [[0.5, 0.5], [0.5, 0.5]]])
    other = torch.tensor([[[0.0, 0.5], [2.0, 2.0]], [[0.5, 0.5], [9.0, 0.5]]])
    locations = torch.stack([points, other])[None, :, None]
    weights = torch.tensor([[[0.5, 0.25], [0.125, 0.125]]] * 2)[None, :, None]
    result = ours([value, locations, weights], shapes)
    assert result.flatten().tolist() == [
        0.5 * 2.5 + 0.25 * 1 + 0.125 * 10 + 0.125 * 10,
        0.5 * 1 + 0.25 * 0 + 0.125 * 10 + 0.125 * 0,
    ]


@pytest.mark.parametrize('device', DEVICES)
def test_parts_of_the_queries_give_what_all_at_once_give(device, monkeypatch):
    given, shapes = inputs(device=device)
    sizes = []
    attend = deformable_attention._attend

    def counted(maps, locations, weights):
        sizes.append(locations.shape[1])
        return attend(maps, locations, weights)

    monkeypatch.setattr(deformable_attention, '_attend', counted)
    results = []
    # In double precision a query has 384 bytes.
    for limit in (3 * 384, 10**9, 1):
        monkeypatch.setattr(deformable_attention, 'CHUNK_BYTES', limit)
        result = ours(given, shapes)
        results.append((result, *torch.autograd.grad(result.square().sum(), given)))
    # Forward and backward.
    assert sizes == [3, 3, 2] * 2 + [8] * 2 + [1] * 16
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize('device', DEVICES)
def test_no_query(device):
    given, shapes = inputs(queries=0, device=device)
    result = ours(given, shapes)
    assert result.shape == (2, 0, 6)
    gradients = torch.autograd.grad(result.sum(), given)
    assert all(one.shape == other.shape for one, other in zip(gradients, given, strict=True))
    assert gradients[0].abs().max() == 0


@pytest.mark.parametrize('device', DEVICES)
def test_sums_under_autocast_are_in_single_precision(device):
    given, shapes = inputs(dtype=torch.float32, device=device)
    expected = ours(given, shapes)
    with torch.autocast(device, torch.bfloat16):
        result = ours(given, shapes)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)
    result.sum().backward()
    assert all(one.grad.isfinite().all() for one in given)


def test_memory_does_not_hold_the_samples_of_all_queries():
    """The graph keeps the arguments alone; the plain form keeps what it sampled."""
    given, shapes = inputs(queries=500, dtype=torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, id):
        ours(given, shapes)
    pointers = {one.data_ptr() for one in (*given, shapes)}
    # And where each level begins.
    others = [one for one in kept if one.data_ptr() not in pointers]
    assert [one.shape for one in others] == [(3,)]
