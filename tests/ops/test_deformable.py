"""Deformable convolution and its foldings, against loops."""

import math

import pytest
import torch
from torch.nn import functional

from vispropnet.ops.deformable import (
    deform_conv2d,
    fold_kernel,
    folded_deform_conv,
    masked_deform_conv,
    sampling_places,
)


def read(plane, y, x):
    """Bilinear; beyond the plane lie zeros."""
    height, width = plane.shape
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < height and 0 <= column < width:
                weight = (1 - abs(y - row)) * (1 - abs(x - column))
                total += weight * plane[row, column].item()
    return total


def slow_deform_conv(features, offsets, weight):
    """(C, h, w) to (D, h, w), one product at a time."""
    side = weight.shape[-1]
    result = torch.zeros(len(weight), *features.shape[1:], dtype=features.dtype)
    for y in range(features.shape[1]):
        for x in range(features.shape[2]):
            for tap in range(side * side):
                down = y + tap // side - side // 2 + offsets[2 * tap, y, x].item()
                right = x + tap % side - side // 2 + offsets[2 * tap + 1, y, x].item()
                for channel, plane in enumerate(features):
                    value = read(plane, down, right)
                    result[:, y, x] += weight[:, channel, tap // side, tap % side] * value
    return result


def inputs(height=4, width=5, channels=3, masks=2, out=3, spread=2.0, dtype=torch.float64):
    features = torch.randn(channels, height, width, dtype=dtype)
    kernel = torch.randn(out, channels, 3, 3, dtype=dtype)
    offsets = spread * torch.randn(18, height, width, dtype=dtype)
    return features, torch.rand(masks, height, width, dtype=dtype), offsets, kernel


def products_of(features, kernel, readout):
    return torch.einsum('kc,chw->khw', fold_kernel(kernel, readout), features)


@pytest.mark.parametrize('size', [(4, 5), (1, 6), (6, 1), (1, 1)])
def test_deform_conv_equals_loops(size):
    features, _, offsets, kernel = inputs(*size)
    found = deform_conv2d(features[None], offsets[None], kernel, padding=1)[0]
    torch.testing.assert_close(found, slow_deform_conv(features, offsets, kernel))


@pytest.mark.parametrize('size', [(4, 5), (1, 6), (6, 1), (1, 1)])
def test_masked_equals_loops_at_whole_cells(size):
    features, masks, offsets, kernel = inputs(*size)
    offsets = offsets.round()
    found = masked_deform_conv(features, masks, sampling_places(offsets), kernel)
    for mask, one in zip(masks, found, strict=True):
        torch.testing.assert_close(one, slow_deform_conv(features * mask, offsets, kernel))


def test_masked_reads_features_and_masks_apart():
    features, masks, offsets, kernel = inputs()
    found = masked_deform_conv(features, masks, sampling_places(offsets), kernel)
    for mask, one in zip(masks, found, strict=True):
        expected = torch.zeros_like(one)
        for tap in range(9):
            alone = torch.zeros_like(kernel)
            alone[:, :, tap // 3, tap % 3] = kernel[:, :, tap // 3, tap % 3]
            # A kernel of one tap reads the mask alone where it is 1.
            place = torch.zeros(1, 1, 3, 3, dtype=features.dtype)
            place[0, 0, tap // 3, tap % 3] = 1
            arrived = slow_deform_conv(mask[None], offsets, place)
            expected += slow_deform_conv(features, offsets, alone) * arrived
        torch.testing.assert_close(one, expected)


def test_zero_offsets_are_a_convolution_and_the_identity_leaves_features():
    features, masks, offsets, kernel = inputs()
    places = sampling_places(torch.zeros_like(offsets))
    masked = features * masks[:, None]
    expected = functional.conv2d(masked, kernel, padding=1)
    torch.testing.assert_close(masked_deform_conv(features, masks, places, kernel), expected)
    plain = deform_conv2d(masked, torch.zeros(2, *offsets.shape).double(), kernel, padding=1)
    torch.testing.assert_close(plain, expected)
    identity = torch.zeros_like(kernel)
    identity[:, :, 1, 1] = torch.eye(3)
    torch.testing.assert_close(masked_deform_conv(features, masks, places, identity), masked)


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize('masks', [1, 3])
def test_folded_equals_unfolded_with_gradients(masks, dtype, tolerance):
    features, masks, offsets, kernel = inputs(6, 8, 16, masks, 16, dtype=dtype)
    given = [features, masks, offsets, 0.1 * kernel, 0.1 * torch.randn(16, dtype=dtype)]
    outputs, gradients = [], []
    for folded in (True, False):
        own = [one.clone().requires_grad_() for one in given]
        features, masks, offsets, kernel, readout = own
        if folded:
            products = products_of(features, kernel, readout)
            logits = folded_deform_conv(products, masks, sampling_places(offsets))
        else:
            each = offsets.expand(len(masks), -1, -1, -1)
            arrived = deform_conv2d(features * masks[:, None], each, kernel, padding=1)
            logits = torch.einsum('nchw,c->nhw', arrived, readout)
        logits.square().sum().backward()
        outputs.append(logits.detach())
        gradients.append([one.grad for one in own])
    tolerances = dict(rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(*outputs, **tolerances)
    for one, other in zip(*gradients, strict=True):
        # Gradients are sums of hundreds of products.
        scale = other.abs().max()
        torch.testing.assert_close(one / scale, other / scale, **tolerances)


def test_an_offset_that_is_no_number_is_refused_before_the_call():
    features, masks, offsets, kernel = inputs()
    offsets[3, 1, 2] = math.nan
    with pytest.raises(ValueError, match='1 of 360 offsets are NaN'):
        deform_conv2d(features[None], offsets[None], kernel, padding=1)
    places = sampling_places(offsets)
    for found in (
        masked_deform_conv(features, masks, places, kernel),
        folded_deform_conv(features[:1].expand(9, -1, -1), masks, places),
    ):
        # Shown where it is, to whatever looks for such values.
        assert found[..., 1, 2].isnan().all() and found.isnan().sum() == found[..., 1, 2].numel()


def test_infinite_offsets_read_nothing():
    features, _, offsets, kernel = inputs()
    offsets[:] = math.inf
    assert not deform_conv2d(features[None], offsets[None], kernel, padding=1).any()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(dtype):
    features, masks, offsets, kernel = inputs(dtype=torch.float32)
    halves = [one.to(dtype) for one in (features, masks, offsets, kernel)]
    single = [one.float() for one in halves]
    with torch.autocast('cpu', dtype):
        features, masks, offsets, kernel = halves
        found = masked_deform_conv(features, masks, sampling_places(offsets), kernel)
        plain = deform_conv2d(features[None], offsets[None], kernel, padding=1)
    features, masks, offsets, kernel = single
    expected = masked_deform_conv(features, masks, sampling_places(offsets), kernel)
    torch.testing.assert_close(found, expected)
    expected = deform_conv2d(features[None], offsets[None], kernel, padding=1)
    torch.testing.assert_close(plain, expected)


def test_no_masks():
    features, masks, offsets, kernel = inputs(masks=0)
    places = sampling_places(offsets)
    assert masked_deform_conv(features, masks, places, kernel).shape == (0, 3, 4, 5)
    assert folded_deform_conv(features[:1].expand(9, -1, -1), masks, places).shape == (0, 4, 5)


@pytest.mark.gpu
def test_cpu_and_gpu_agree():
    features, masks, offsets, kernel = inputs(6, 8, 4, 3, 4, dtype=torch.float32)
    found = []
    for device in ('cpu', 'cuda'):
        own = [one.to(device) for one in (features, masks, offsets, kernel)]
        places = sampling_places(own[2])
        found.append(
            [
                masked_deform_conv(own[0], own[1], places, own[3]),
                folded_deform_conv(own[0][:1].expand(9, -1, -1), own[1], places),
                deform_conv2d(own[0][None], own[2][None], own[3], padding=1),
            ]
        )
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other.cpu(), one, rtol=1e-4, atol=1e-4)
