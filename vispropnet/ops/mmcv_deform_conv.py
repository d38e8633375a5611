"""mmcv's deformable convolutions on torchvision kernels: plain (DCN) and modulated (DCNv2).

The signatures are those by which ``mmcv.ops`` calls its extension, by name but for the tensors;
results go into the tensors that the caller allocated, as there. torchvision counts offsets and
masks in the same order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vispropnet.ops.affinity import at_least_single
from vispropnet.ops.deformable import refuse_nan


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: Any,
) -> None:
    """Deformable convolution, written to ``output``.

    Args:
        input: (B, C, H, W) features.
        weight: (D, C / groups, k, k).
        offset: (B, deformable groups * 2 k², h, w) in cells.
        output: (B, D, h, w), overwritten.
        columns: Not used.
        ones: Not used.
        geometry: ``kW, kH, dW, dH`` (stride), ``padW, padH, dilationW, dilationH, group,
            deformable_group, im2col_step`` (not used).

    Raises:
        ValueError: on a CPU, for an offset that is NaN.
    """
    output.copy_(_forward(input, weight, offset, None, None, _plain(geometry)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: Any,
) -> None:
    """Gradients of :func:`deform_conv_forward` in features and offsets, added to theirs."""
    plain = _plain(geometry)
    gradients = _backward(grad_output, input, weight, offset, None, None, plain)
    grad_input += gradients[0].to(grad_input.dtype)
    grad_offset += gradients[2].to(grad_offset.dtype)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **geometry: Any,
) -> None:
    """Gradient of :func:`deform_conv_forward` in the weight, times a scale, added to its own."""
    # Only the shape of the weight matters to its own gradient.
    plain = _plain(geometry)
    weight = torch.zeros_like(grad_weight)
    gradients = _backward(grad_output, input, weight, offset, None, None, plain)
    grad_weight += scale * gradients[1].to(grad_weight.dtype)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **geometry: Any,
) -> None:
    """Modulated deformable convolution, written to ``output``.

    Args:
        input: (B, C, H, W) features.
        weight: (D, C / groups, k, k).
        bias: (D,), if ``with_bias``.
        ones: Not used.
        offset: (B, deformable groups * 2 k², h, w) in cells.
        mask: (B, deformable groups * k², h, w) factors of what the taps read.
        output: (B, D, h, w), overwritten.
        columns: Not used.
        with_bias: Whether there is a bias.
        geometry: ``kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w,
            group, deformable_group``.

    Raises:
        ValueError: on a CPU, for an offset that is NaN.
    """
    bias = bias if with_bias else None
    output.copy_(_forward(input, weight, offset, mask, bias, _modulated(geometry)))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **geometry: Any,
) -> None:
    """Gradients of :func:`modulated_deform_conv_forward`, added to theirs."""
    bias = bias if with_bias else None
    given = grad_output, input, weight, offset, mask, bias
    gradients = _backward(*given, _modulated(geometry))
    own = grad_input, grad_weight, grad_offset, grad_mask, grad_bias
    for one, gradient in zip(own[: 5 if with_bias else 4], gradients, strict=False):
        one += gradient.to(one.dtype)


def _plain(geometry: dict[str, Any]) -> tuple[int, ...]:
    names = ('dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW', 'group', 'deformable_group')
    return tuple(geometry[name] for name in names)


def _modulated(geometry: dict[str, Any]) -> tuple[int, ...]:
    pairs = ('stride_h', 'stride_w', 'pad_h', 'pad_w', 'dilation_h', 'dilation_w')
    return tuple(geometry[name] for name in (*pairs, 'group', 'deformable_group'))


def _tensors(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, ...]:
    """All of one floating type, as the kernels take them; what is missing is of zeros."""
    count, height, width = len(input), *offset.shape[-2:]
    mask = input.new_zeros(count, 0, height, width) if mask is None else mask
    bias = input.new_zeros(len(weight)) if bias is None else bias
    return tuple(at_least_single(one).contiguous() for one in (input, weight, offset, mask, bias))


def _forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
) -> Tensor:
    refuse_nan(offset)
    given = _tensors(input, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*given, *geometry, mask is not None)


def _backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
) -> tuple[Tensor, ...]:
    """Gradients of input, weight, offset, mask and bias."""
    given = _tensors(input, weight, offset, mask, bias)
    grad_output = at_least_single(grad_output).contiguous()
    return torch.ops.torchvision._deform_conv2d_backward(
        grad_output, *given, *geometry, mask is not None
    )
