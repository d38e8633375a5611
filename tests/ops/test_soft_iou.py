"""Soft IoU, by hand and against loops."""

import pytest
import torch

from vispropnet.ops.soft_iou import soft_iou, soft_overlaps


def slow_iou(mask, other):
    """Sums cell by cell."""
    common = total = 0.0
    for a, b in zip(mask.flatten().tolist(), other.flatten().tolist(), strict=True):
        common += a * b
        total += a + b - a * b
    return common / total


def test_equals_loops_is_symmetric_and_in_the_unit_interval():
    masks, others = torch.rand(5, 3, 4), torch.rand(5, 3, 4)
    expected = torch.tensor([slow_iou(*pair) for pair in zip(masks, others, strict=True)])
    torch.testing.assert_close(soft_iou(masks, others), expected)
    torch.testing.assert_close(soft_iou(others, masks), expected)
    assert expected.min() > 0 and expected.max() < 1


def test_is_the_iou_of_binary_masks():
    masks, others = torch.rand(6, 4, 5) > 0.4, torch.rand(6, 4, 5) > 0.4
    expected = (masks & others).sum((1, 2)) / (masks | others).sum((1, 2))
    torch.testing.assert_close(soft_iou(masks.float(), others.float()), expected)


@pytest.mark.parametrize('value', [0.1, 0.5, 1.0])
def test_of_a_constant_with_itself(value):
    mask = torch.full((2, 3), value)
    assert soft_iou(mask, mask).item() == pytest.approx(value / (2 - value))


def test_an_empty_mask_has_a_gradient_only_with_smoothing():
    empty = torch.zeros(1, 2, 2)
    for smoothing in (0.0, 1.0):
        found = torch.full((1, 2, 2), 0.25, requires_grad=True)
        (1 - soft_iou(found, empty, smoothing)).sum().backward()
        if smoothing:
            # 1 - 1 / (1 + s), whose derivative by s is 1 / (1 + s)², with s = 4 · 0.25.
            torch.testing.assert_close(found.grad, torch.full((1, 2, 2), 0.25))
        else:
            assert not found.grad.any()
    assert soft_iou(empty, empty).isnan() and soft_iou(empty, empty, 1.0) == 1


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_sums_are_in_single_precision_under_autocast(dtype):
    # 3000 cells of 0.5 would be 2048 or less in half precision, were they summed one by one.
    mask = torch.full((1, 50, 60), 0.5, dtype=dtype)
    with torch.autocast('cpu', torch.bfloat16):
        assert soft_iou(mask, mask).dtype == torch.float32
        common, total = soft_overlaps(mask, mask)
    assert (common.item(), total.item()) == (750, 2250)


@pytest.mark.parametrize('counts', [(3, 2), (0, 2), (3, 0), (1, 1)])
def test_overlaps_of_all_pairs(counts):
    masks, others = (torch.rand(count, 3, 4) for count in counts)
    common, total = soft_overlaps(masks, others)
    assert common.shape == total.shape == counts
    for row in range(counts[0]):
        for column in range(counts[1]):
            ratio = common[row, column] / total[row, column]
            assert ratio.item() == pytest.approx(slow_iou(masks[row], others[column]), rel=1e-5)
