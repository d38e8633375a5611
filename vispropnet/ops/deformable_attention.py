"""Multi-scale deformable attention (Deformable DETR, section 4.1) by ``grid_sample``.

Shapes: B images, K cells of all levels together, H heads of D channels, Q queries, L levels, P
points of each query, head and level. The signatures are those by which ``mmcv.ops`` calls its
compiled operators on a GPU. Sampled values are made for some queries at a time, and made anew in
the backward pass, so neither pass holds those of all queries and points.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

# Bytes of the values that are sampled at once.
CHUNK_BYTES = 64 * 2**20


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Sums up, for each query and head, the values at its points by its weights.

    Args:
        value: (B, K, H, D), level by level, each row by row.
        value_spatial_shapes: (L, 2) int64, height and width of each level.
        value_level_start_index: (L,) first cell of each level; it follows from the shapes.
        sampling_locations: (B, Q, H, L, P, 2) x, y, from 0 to 1 within a level; beyond is zero.
        attention_weights: (B, Q, H, L, P).
        im2col_step: Images that a compiled operator takes at once; not used.

    Returns:
        (B, Q, H * D) of the type of ``value``. Sums are made in float32 or better.
    """
    with torch.autocast(value.device.type, enabled=False):
        maps = _maps(value, value_spatial_shapes)
        locations, weights = (_exact(one) for one in (sampling_locations, attention_weights))
        chunks = [
            _attend(maps, locations[:, some], weights[:, some])
            for some in _chunks(value, sampling_locations)
        ]
    empty = value.new_zeros(len(value), 0, value.shape[2] * value.shape[3])
    return torch.cat(chunks, dim=1).to(value.dtype) if chunks else empty


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Gradients of :func:`ms_deform_attn_forward`, added to tensors that hold zeros.

    ``grad_output`` (B, Q, H * D) is the gradient of its result; ``grad_value``,
    ``grad_sampling_loc`` and ``grad_attn_weight`` have the shapes of the arguments that they are
    of. All else is as in the forward pass.
    """
    with torch.autocast(value.device.type, enabled=False):
        maps = [one.detach().requires_grad_() for one in _maps(value, value_spatial_shapes)]
        of_maps = [torch.zeros_like(one) for one in maps]
        for some in _chunks(value, sampling_locations):
            inputs = [
                _exact(one[:, some]).detach().requires_grad_()
                for one in (sampling_locations, attention_weights)
            ]
            with torch.enable_grad():
                output = _attend(maps, *inputs)
            gradients = torch.autograd.grad(output, [*inputs, *maps], _exact(grad_output[:, some]))
            grad_sampling_loc[:, some] += gradients[0].to(grad_sampling_loc.dtype)
            grad_attn_weight[:, some] += gradients[1].to(grad_attn_weight.dtype)
            for total, part in zip(of_maps, gradients[2:], strict=True):
                total += part
        # (B * H, D, h, w) of each level back to (B, K, H, D).
        heads = [one.flatten(2).unflatten(0, (len(value), -1)) for one in of_maps]
        grad_value += torch.cat(heads, dim=3).permute(0, 3, 1, 2).to(grad_value.dtype)


def _exact(tensor: Tensor) -> Tensor:
    """In float32, or in float64 if it is so."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _maps(value: Tensor, shapes: Tensor) -> list[Tensor]:
    """Values of each level, (B * H, D, h, w)."""
    # One copy to the host for all levels.
    sizes = shapes.tolist()
    levels = _exact(value).split([height * width for height, width in sizes], dim=1)
    return [
        level.permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, size)
        for level, size in zip(levels, sizes, strict=True)
    ]


def _chunks(value: Tensor, locations: Tensor) -> Iterator[slice]:
    """Parts of the queries, as many at once as the limit allows, but at least one."""
    images, queries, heads, _, points, _ = locations.shape
    bytes_each = images * heads * points * value.shape[3] * (8 if value.dtype.itemsize == 8 else 4)
    count = max(1, CHUNK_BYTES // max(1, bytes_each))
    for first in range(0, queries, count):
        yield slice(first, first + count)


def _attend(maps: list[Tensor], locations: Tensor, weights: Tensor) -> Tensor:
    """The operator on some queries, level by level: (B, Q, H * D)."""
    images, queries, heads = weights.shape[:3]
    total = locations.new_zeros(images * heads, maps[0].shape[1], queries)
    # grid_sample counts from -1 to 1.
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    shares = weights.transpose(1, 2).flatten(0, 1)
    for level, values in enumerate(maps):
        sampled = functional.grid_sample(
            values, grids[:, :, level], padding_mode='zeros', align_corners=False
        )
        total = total + torch.einsum('ndqp,nqp->ndq', sampled, shares[:, :, level])
    return total.unflatten(0, (images, heads)).flatten(1, 2).transpose(1, 2)
