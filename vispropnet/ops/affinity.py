"""Inter-frame attention as pure functions (ObjProp, Chakravarthy et al. 2021, section 3).

Shape legend:
    B  pairs of a reference and a current frame
    C  channels
    P  positions of the reference frame, row by row
    Q  positions of the current frame, row by row
    N  maps to carry over, one per object

An affinity has one entry per (reference position, current position) and sums up to 1 over the
reference positions. Where only what it carries over is wanted, it is made a few current positions
at a time, so that nothing of size P x Q is larger than a budget in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

BUDGET = 256 * 2**20  # bytes that a block of the affinity, or of masks, may take
# Without gradients smaller blocks are faster: they stay in a processor's cache.
CACHED_BLOCK = 16 * 2**20
FUSED_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]


def at_least_single(tensor: Tensor) -> Tensor:
    """In float32, unless it is float64: half precision cannot hold unscaled dot products."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def gaussian_factors(
    reference_size: Sequence[int], current_size: Sequence[int], sigma: float, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights of the distance between positions, per axis: ``exp(-d² / sigma²)``.

    Their product over both axes is the Gaussian of the distance in the plane.

    Args:
        reference_size: Height and width of the reference frame in cells.
        current_size: The same of the current frame.
        sigma: In cells.
        like: Gives type and device.

    Returns:
        (rows of the current frame, rows of the reference frame) and the same of the columns.
    """
    factors = []
    for reference, current in zip(reference_size, current_size, strict=True):
        # From integers: half precision cannot count far.
        distance = (
            torch.arange(current, device=like.device)[:, None]
            - torch.arange(reference, device=like.device)[None, :]
        )
        factors.append(torch.exp(-((distance.double() / sigma) ** 2)).to(like.dtype))
    return factors[0], factors[1]


def affinity(
    reference: Tensor,
    current: Tensor,
    gaussian: tuple[Tensor, Tensor] | None = None,
    places: Tensor | None = None,
) -> Tensor:
    """The affinity matrix ``softmax(referenceᵀ current)`` over P, or some of its columns.

    Args:
        reference: (B, C, P).
        current: (B, C, Q), of weighted affinities ``W x``. Where few current positions matter, give
            those alone: the whole matrix has P x Q entries for each pair.
        gaussian: What :func:`gaussian_factors` gave; multiplies the affinity, which then sums up to
            less than 1.
        places: (Q,) where ``current`` is in its frame, counted row by row, for the Gaussian; None
            if it holds all positions in order.

    Returns:
        (B, P, Q), in single precision at least.
    """
    with torch.autocast(reference.device.type, enabled=False):
        reference, current = at_least_single(reference), at_least_single(current)
        if places is None:
            places = torch.arange(current.shape[2], device=current.device)
        return _block(reference, current, places, gaussian).transpose(1, 2)


def carry(
    reference: Tensor,
    current: Tensor,
    maps: Tensor,
    gaussian: tuple[Tensor, Tensor] | None = None,
    budget: int = BUDGET,
) -> tuple[Tensor, Tensor]:
    """Carries maps from the reference to the current frame: ``maps @ affinity``.

    Args:
        reference: (B, C, P).
        current: (B, C, Q), of weighted affinities ``W x``.
        maps: (B, N, P).
        gaussian: As in :func:`affinity`.
        budget: Bytes that one block of the affinity may take; it has at least one current position.

    Returns:
        (B, N, Q) what arrives of each map, and (B, 1, Q) what would arrive of a map of ones (1
        without a Gaussian), in single precision at least. Where more than one block is needed,
        gradients compute the blocks a second time instead of keeping them.
    """
    with torch.autocast(reference.device.type, enabled=False):
        reference, current = at_least_single(reference), at_least_single(current)
        # (B, P, N): the last map, of ones, is needed only if the affinity does not sum up to 1.
        values = maps.to(reference.dtype).transpose(1, 2)
        if gaussian is not None:
            values = functional.pad(values, (0, 1), value=1.0)
        learns = torch.is_grad_enabled() and any(
            one.requires_grad for one in (reference, current, maps)
        )
        if not learns and reference.device.type == 'cpu':
            budget = min(budget, CACHED_BLOCK)
        arrived = _in_blocks(reference, current, values, gaussian, budget, learns)
        arrived = arrived.transpose(1, 2)
        if gaussian is None:
            return arrived, torch.ones_like(current[:, :1])
        return arrived[:, :-1], arrived[:, -1:]


def attend(query: Tensor, key: Tensor, value: Tensor, budget: int = BUDGET) -> Tensor:
    """``softmax(query keyᵀ) value`` without scaling, in memory that grows with P + Q.

    Args:
        query: (B, Q, C).
        key: (B, P, C).
        value: (B, P, C').
        budget: Bytes that one block of the affinity may take where no fused kernel serves.

    Returns:
        (B, Q, C'), of the type of ``value``.
    """
    dtype = value.dtype
    if query.dtype != dtype or key.dtype != dtype:
        query, key, value = query.float(), key.float(), value.float()
    # Autocast would take single precision away from whoever asked for it.
    with torch.autocast(query.device.type, enabled=False):
        if _has_fused_kernel(query, key, value):
            if key.dtype == torch.float32:
                # What all keys share changes no softmax. Kernels that take the maximum off after
                # multiplying with log2(e) lose the digits of products that are large and alike.
                key = key - key.mean(1, keepdim=True).detach()
            # Fused kernels want rows of channels; a view of contiguous memory has the strides of
            # such rows also where there is only one, which no kernel takes otherwise.
            heads = (_one_head(part) for part in (query, key, value))
            with sdpa_kernel(FUSED_BACKENDS):
                attended = functional.scaled_dot_product_attention(*heads, scale=1.0)[:, 0]
        else:
            attended = _in_blocks(
                at_least_single(key).transpose(1, 2),
                at_least_single(query).transpose(1, 2),
                at_least_single(value),
                None,
                budget,
                torch.is_grad_enabled(),
            )
    return attended.to(dtype)


def _one_head(rows: Tensor) -> Tensor:
    """Rows (B, P, C) as those of one head, (B, 1, P, C), with strides C and 1."""
    return rows.contiguous().view(len(rows), 1, *rows.shape[1:])


def _in_blocks(
    reference: Tensor,
    current: Tensor,
    values: Tensor,
    gaussian: tuple[Tensor, Tensor] | None,
    budget: int,
    learns: bool,
) -> Tensor:
    """Reads values (B, P, N) out at the current positions: (B, Q, N)."""
    pairs, count = current.shape[0], current.shape[2]
    positions = max(1, budget // (reference.shape[2] * reference.element_size()))
    places = torch.arange(count, device=current.device)
    if pairs * count <= positions:
        return _read_block(reference, current, values, places, gaussian)
    outputs = []
    for pair in range(pairs):
        one = slice(pair, pair + 1)
        for start in range(0, count, positions):
            some = slice(start, start + positions)
            arguments = (reference[one], current[one, :, some], values[one], places[some], gaussian)
            if learns:
                outputs.append(checkpoint(_read_block, *arguments, use_reentrant=False))
            else:
                outputs.append(_read_block(*arguments))
    return torch.cat([part[0] for part in outputs]).view(pairs, count, -1)


def _read_block(
    reference: Tensor,
    current: Tensor,
    values: Tensor,
    places: Tensor,
    gaussian: tuple[Tensor, Tensor] | None,
) -> Tensor:
    weights = _block(reference, current, places, gaussian)
    # Few values to many weights: this way round takes a third of the time.
    return (values.transpose(1, 2).contiguous() @ weights.transpose(1, 2)).transpose(1, 2)


def _block(
    reference: Tensor, current: Tensor, places: Tensor, gaussian: tuple[Tensor, Tensor] | None
) -> Tensor:
    """The affinity of some current positions, transposed: (B, Q, P)."""
    weights = _scores(reference, current).softmax(dim=2)
    if gaussian is None:
        return weights
    rows, columns = gaussian
    across = columns.shape[0]
    near = rows[places // across][:, :, None] * columns[places % across][:, None, :]
    return weights * near.flatten(1)


def _scores(reference: Tensor, current: Tensor) -> Tensor:
    """Products of all current with all reference positions: (B, Q, P)."""
    on_cpu = current.device.type == 'cpu' and current.dtype == torch.float32
    if on_cpu and len(current) == 1 and not torch.is_grad_enabled() and reference.shape[2] > 0:
        # The same product as a 1x1 convolution, for which oneDNN takes two thirds of the time that
        # MKL takes for the matrix product on processors it does not favour.
        rows = current.transpose(1, 2).contiguous()
        image = rows.view(1, -1, 1, rows.shape[2]).permute(0, 3, 1, 2)
        kernels = reference[0].t().contiguous()[:, :, None, None]
        return functional.conv2d(image, kernels).permute(0, 2, 3, 1).reshape(1, -1, len(kernels))
    return current.transpose(1, 2) @ reference


def _has_fused_kernel(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Checks that attention runs without a P x Q tensor for these arguments."""
    if min(query.numel(), key.numel(), value.numel()) == 0:
        return False
    if query.device.type != 'cuda':
        return query.device.type == 'cpu' and query.shape[2] == value.shape[2]
    # No mask, no dropout, not causal, no grouped queries.
    settings = [*(part[:, None] for part in (query, key, value)), None, 0.0, False, False]
    try:
        params = torch.backends.cuda.SDPAParams(*settings)
    except TypeError:  # torch 2.4 knows no grouped queries
        params = torch.backends.cuda.SDPAParams(*settings[:-1])
    return torch.backends.cuda.can_use_flash_attention(
        params
    ) or torch.backends.cuda.can_use_efficient_attention(params)
