"""Deformable convolutions of mmcv, called as mmdet's backbones call them."""

import pytest
import torch
from mmcv.ops import deform_conv2d, modulated_deform_conv2d
from mmdet.models.backbones import ResNeXt

from tests.ops.test_deformable import read

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
GEOMETRIES = [
    # (height, width), stride, padding, dilation, groups, deformable groups
    ((3, 4), 1, 1, 1, 1, 1),
    ((6, 4), (2, 1), (1, 2), (1, 2), 2, 1),
    ((3, 3), 1, 0, 1, 4, 2),
]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def slow_conv(image, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
    """One frame (C, H, W), product by product."""
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    out, per_group, side, _ = weight.shape
    result = torch.zeros(out, *offset.shape[1:], dtype=image.dtype)
    for channel in range(out):
        first = channel // (out // groups) * per_group
        for y in range(result.shape[1]):
            for x in range(result.shape[2]):
                total = bias[channel].item()
                for number in range(per_group):
                    source = first + number
                    group = source // (len(image) // deform_groups)
                    for tap in range(side * side):
                        at = group * side * side + tap
                        down = y * stride[0] - padding[0] + tap // side * dilation[0]
                        right = x * stride[1] - padding[1] + tap % side * dilation[1]
                        value = read(
                            image[source],
                            down + offset[2 * at, y, x].item(),
                            right + offset[2 * at + 1, y, x].item(),
                        )
                        factor = mask[at, y, x].item()
                        total += value * factor * weight[channel, number].flatten()[tap].item()
                result[channel, y, x] = total
    return result


def inputs(size, stride, padding, dilation, groups, deform_groups):
    """Two frames of four channels, in double precision."""
    sides = [
        (side + 2 * pad - 2 * wide - 1) // step + 1
        for side, step, pad, wide in zip(
            size, pair(stride), pair(padding), pair(dilation), strict=True
        )
    ]
    torch.manual_seed(0)
    return [
        torch.randn(2, 4, *size).double(),
        torch.randn(2, 18 * deform_groups, *sides).double(),
        torch.rand(2, 9 * deform_groups, *sides).double(),
        torch.randn(4, 4 // groups, 3, 3).double(),
        torch.randn(4).double(),
    ]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_plain_equals_loops(geometry, device):
    images, offsets, masks, weight, bias = inputs(*geometry)
    given = [one.to(device) for one in (images, offsets, weight)]
    found = deform_conv2d(*given, *geometry[1:])
    for one, image, offset, mask in zip(found, images, offsets, masks, strict=True):
        ones, zeros = torch.ones_like(mask), torch.zeros_like(bias)
        expected = slow_conv(image, offset, ones, weight, zeros, *geometry[1:])
        torch.testing.assert_close(one.cpu(), expected)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('with_bias', [True, False])
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_modulated_equals_loops(geometry, with_bias, device):
    images, offsets, masks, weight, bias = inputs(*geometry)
    given = [one.to(device) for one in (images, offsets, masks, weight, bias)]
    found = modulated_deform_conv2d(*given[:4], given[4] if with_bias else None, *geometry[1:])
    for one, image, offset, mask in zip(found, images, offsets, masks, strict=True):
        expected = slow_conv(image, offset, mask, weight, bias * with_bias, *geometry[1:])
        torch.testing.assert_close(one.cpu(), expected)


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_gradients(geometry):
    images, offsets, masks, weight, bias = (one.requires_grad_() for one in inputs(*geometry))
    rest = geometry[1:]
    # Random directions instead of every entry.
    fast = dict(fast_mode=True)
    assert torch.autograd.gradcheck(
        lambda *given: deform_conv2d(*given, *rest), (images[:1], offsets[:1], weight), **fast
    )
    assert torch.autograd.gradcheck(
        lambda *given: modulated_deform_conv2d(*given, *rest),
        (images[:1], offsets[:1], masks[:1], weight, bias),
        **fast,
    )


def test_half_precision_is_computed_in_single():
    images, offsets, masks, weight, bias = (one.half() for one in inputs(*GEOMETRIES[0]))
    given = images, offsets, masks, weight, bias
    expected = modulated_deform_conv2d(*(one.float() for one in given), 1, 1)
    found = modulated_deform_conv2d(*given, 1, 1)
    assert found.dtype == torch.half
    torch.testing.assert_close(found, expected.half())


def test_an_offset_that_is_no_number_is_refused():
    images, offsets, masks, weight, bias = inputs(*GEOMETRIES[0])
    offsets[1, 3, 2, 3] = torch.nan
    with pytest.raises(ValueError, match='1 of 432 offsets are NaN'):
        deform_conv2d(images, offsets, weight, 1, 1)
    with pytest.raises(ValueError, match='1 of 432 offsets are NaN'):
        modulated_deform_conv2d(images, offsets, masks, weight, bias, 1, 1)


@pytest.mark.parametrize('kind', ['DCN', 'DCNv2'])
def test_a_backbone_starts_as_without_and_learns_offsets(kind):
    """Offsets start as zeros: it is a convolution (the modulated one with factors of one half)."""
    options = dict(depth=50, groups=4, base_width=4, base_channels=8, stem_channels=8)
    options |= dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))
    plain = ResNeXt(**options)
    dcn = dict(type=kind, deform_groups=1, fallback_on_stride=False)
    model = ResNeXt(**options, dcn=dcn, stage_with_dcn=(False, True))
    for one in (plain, model):
        one.eval()
        for name, weight in one.named_parameters():
            torch.nn.init.constant_(weight, 0.0 if 'offset' in name else 0.02)
    image = torch.randn(1, 3, 32, 32)
    (found,), (expected,) = model(image), plain(image)
    if kind == 'DCN':
        torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    offsets = [one for name, one in model.named_parameters() if 'offset.weight' in name]
    assert len(offsets) == 4 and all(one.grad.isfinite().all() for one in offsets)
    assert any(one.grad.any() for one in offsets)
