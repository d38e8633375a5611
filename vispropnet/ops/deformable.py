"""Deformable convolution and what shares its sampling (Dai et al., ICCV 2017).

Shape legend:
    C, D  channels that go in and come out
    K     k² taps of a square kernel, row by row
    N     masks
    h, w  cells

Offsets (2K, h, w) are in cells: of tap p, row 2p says how far down and row 2p + 1 how far right of
its place in the kernel it reads, as in torchvision. What lies beyond the map is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor
from torch.nn import functional

from vispropnet.ops.affinity import at_least_single

Pair = int | Sequence[int]


def deform_conv2d(
    inputs: Tensor,
    offsets: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """Deformable convolution in single precision at least, also under autocast.

    torchvision's kernels take no mixed types, and on a CPU a NaN offset has them read beyond the
    memory of the process. On a GPU the output is NaN.

    Args:
        inputs: (B, C, H, W).
        offsets: (B, G * 2K, h, w) of G groups of input channels.
        weight: (D, C / groups, k, k).
        bias: (D,).
        stride: Of the output, in cells of the input.
        padding: Cells of zeros on each side.
        dilation: Cells between two taps.
        mask: (B, G * K, h, w) factors of what the taps read; None for 1.

    Returns:
        (B, D, h, w).

    Raises:
        ValueError: on a CPU, for an offset that is NaN.
    """
    with torch.autocast(inputs.device.type, enabled=False):
        offsets = at_least_single(offsets)
        refuse_nan(offsets)
        return torchvision.ops.deform_conv2d(
            at_least_single(inputs),
            offsets,
            at_least_single(weight),
            None if bias is None else at_least_single(bias),
            stride,
            padding,
            dilation,
            None if mask is None else at_least_single(mask),
        )


def refuse_nan(offsets: Tensor) -> None:
    """Raises a ValueError if an offset on a CPU is NaN, which would crash the process.

    A GPU is not waited for: its kernels read a NaN as one.
    """
    if offsets.device.type == 'cpu' and (count := int(offsets.isnan().sum())):
        raise ValueError(
            f'deformable convolution: {count} of {offsets.numel()} offsets are NaN, expected '
            'numbers; the features that they were made of, or the weights, may not be finite'
        )


def sampling_places(offsets: Tensor) -> Tensor:
    """Places that the taps of a kernel read, for :func:`torch.nn.functional.grid_sample`.

    Args:
        offsets: (2K, h, w).

    Returns:
        (K, h, w, 2) as x, y from -1 to 1 between the outer edges of the map.
    """
    offsets = at_least_single(offsets).unflatten(0, (-1, 2))
    count, _, height, width = offsets.shape
    side = round(count**0.5)
    like = dict(dtype=offsets.dtype, device=offsets.device)
    taps = torch.arange(side, **like) - (side - 1) / 2
    down = taps.repeat_interleave(side)[:, None, None] + torch.arange(height, **like)[:, None]
    right = taps.repeat(side)[:, None, None] + torch.arange(width, **like)
    # Pixels are counted from the centre of the first one.
    y = (2 * (down + offsets[:, 0]) + 1) / height - 1
    x = (2 * (right + offsets[:, 1]) + 1) / width - 1
    return torch.stack([x, y], dim=3)


def masked_deform_conv(features: Tensor, masks: Tensor, places: Tensor, weight: Tensor) -> Tensor:
    """Deformable convolution of features under each of N masks.

    Features and masks are read apart, and multiplied where they arrive: ``Σ_p W_p f(x_p) m(x_p)``
    where a convolution of their product has ``Σ_p W_p (f m)(x_p)``, the same at whole cells. So
    features are read, and multiplied by the kernel, once and not for each mask.

    Args:
        features: (C, h, w).
        masks: (N, h, w).
        places: (K, h, w, 2) of :func:`sampling_places`.
        weight: (D, C, k, k).

    Returns:
        (N, D, h, w) in single precision at least.
    """
    with torch.autocast(features.device.type, enabled=False):
        maps = torch.cat([at_least_single(features), at_least_single(masks)])
        read = _sample(maps.expand(len(places), -1, -1, -1), places)
        read_features, read_masks = read.split([len(features), len(masks)], dim=1)
        kernel = at_least_single(weight).flatten(2).permute(2, 0, 1)
        products = torch.bmm(kernel, read_features.flatten(2)).unflatten(2, places.shape[1:3])
        total = read_masks[0][:, None] * products[0]
        # A few large sums: a product of matrices for each cell takes several times as long.
        for mask, product in zip(read_masks[1:], products[1:], strict=True):
            total = torch.addcmul(total, mask[:, None], product)
        return total


def fold_kernel(weight: Tensor, readout: Tensor) -> Tensor:
    """Joins a kernel and the linear layer that reads one number out of what it gives.

    Args:
        weight: (D, C, k, k).
        readout: (D,).

    Returns:
        (K, C): of each tap the weights of the input channels.
    """
    return torch.einsum('dck,d->kc', weight.flatten(2), readout)


def folded_deform_conv(products: Tensor, masks: Tensor, places: Tensor) -> Tensor:
    """One number, by a linear layer, of the deformable convolution of features under N masks.

    Both layers are linear: ``Σ_p (v_p · f m)(x_p)``, of which ``v_p · f`` is the same for all
    masks. So K channels a mask are read and not C.

    Args:
        products: (K, h, w): the features by the weights of :func:`fold_kernel`.
        masks: (N, h, w).
        places: (K, h, w, 2) of :func:`sampling_places`.

    Returns:
        (N, h, w) in single precision at least.
    """
    with torch.autocast(products.device.type, enabled=False):
        maps = at_least_single(products)[:, None] * at_least_single(masks)
        return _sample(maps, places).sum(dim=0)


def _sample(maps: Tensor, places: Tensor) -> Tensor:
    """Reads maps (K, C, h, w) where each tap does: (K, C, h, w)."""
    return functional.grid_sample(maps, places.to(maps.dtype), align_corners=False)
