"""Temporal RoI Align as pure functions (Gong et al., "Temporal RoI Align", AAAI 2021, section 3).

Shape legend:
    R  RoIs of one frame
    P  cells of RoIs, RoI by RoI and row by row in each
    C  channels
    U  positions of a support frame's feature map, row by row
    K  most similar positions of a support frame
    S  support frames
    N  heads of the temporal attention
    h, w  cells of a RoI

What a cell finds in a support frame is a mean of the K positions most similar to it. The search
compares P with U positions; it is made for a few cells at a time and without gradients, which would
reach no more than the K positions anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vispropnet.ops.affinity import at_least_single

BUDGET = 64 * 2**20
# On a CPU the similarities of a block stay in a processor's cache.
CACHED_BLOCK = 4 * 2**20
EPSILON = 1e-8


class Found(NamedTuple):
    """What cells found in a support frame.

    Args:
        positions: (P, K) int64, the most similar one first.
        shares: (P, K), the softmax of their cosines.
    """

    positions: Tensor
    shares: Tensor


@torch.no_grad()
def most_similar(cells: Tensor, support: Tensor, num: int, budget: int = BUDGET) -> Found:
    """Finds the positions of a support frame whose features are most similar to those of cells.

    Similarity is the cosine of the features as they are; that of a feature of zeros is 0.

    Args:
        cells: (P, C).
        support: (U, C); U is not 0.
        num: K; U if there are fewer positions.
        budget: Bytes that the similarities of one block may take. A block has at least one cell.

    Returns:
        What was found, without gradients.
    """
    with torch.autocast(cells.device.type, enabled=False):
        # In half precision cosines near 1 tie. The length of a cell's feature changes no order.
        cells = at_least_single(cells)
        keys = functional.normalize(at_least_single(support), dim=1, eps=EPSILON).t()
        num = min(num, keys.shape[1])
        if cells.device.type == 'cpu':
            budget = min(budget, CACHED_BLOCK)
        block = max(1, budget // (keys.shape[1] * keys.element_size()))
        found = [(some @ keys).topk(num, dim=1) for some in cells.split(block)]
        products, positions = (torch.cat(parts) for parts in zip(*found, strict=True))
        lengths = cells.norm(dim=1, keepdim=True).clamp(min=EPSILON)
        return Found(positions, (products / lengths).softmax(dim=1))


def read_similar(cells: Tensor, support: Tensor, positions: Tensor) -> Tensor:
    """Means of the features at the positions found, weighted by the softmax of their cosines.

    Args:
        cells: (P, C).
        support: (U, C).
        positions: (P, K), as :func:`most_similar` gives them.

    Returns:
        (P, C) in single precision at least. Gradients reach cells and support as they would through
        the similarities of all positions.
    """
    with torch.autocast(cells.device.type, enabled=False):
        cells, support = at_least_single(cells), at_least_single(support)
        found = support[positions]
        cosines = functional.cosine_similarity(cells[:, None], found, dim=2, eps=EPSILON)
        return (cosines.softmax(dim=1)[:, None] @ found).squeeze(1)


def read_found(support: Tensor, found: Found) -> Tensor:
    """Gives what :func:`read_similar` gives, from the shares found and without gradients.

    Args:
        support: (U, C).
        found: Of P cells.

    Returns:
        (P, C) in single precision at least.
    """
    read = at_least_single(support.detach())[found.positions]
    return (found.shares[:, None] @ read).squeeze(1)


def average_over_frames(
    frames: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    num_heads: int = 0,
    similar: tuple[Sequence[Found], Sequence[Tensor]] | None = None,
) -> Tensor:
    """Means of the features of RoIs and of what they found in support frames.

    With heads, the weights are, for each cell and head, a softmax over the frames, the target's own
    among them, of the products of the embedding of each frame's features, a 3x3 convolution, with
    that of the target's, over the square root of the channels of a head.

    Args:
        frames: (1 + S, R, C, h, w), the target's features first.
        weight: (C, C, 3, 3) of the convolution; with heads only.
        bias: (C,) of the convolution.
        num_heads: N, which divides C; 0 for equal weights.
        similar: What the cells found in each support frame, and :func:`embed_positions` of it, to
            embed what was found faster; without gradients only.

    Returns:
        (R, C, h, w) in single precision at least.
    """
    frames = at_least_single(frames)
    if num_heads == 0:
        return frames.mean(dim=0)
    with torch.autocast(frames.device.type, enabled=False):
        learns = torch.is_grad_enabled() and any(
            one.requires_grad for one in (frames, weight, bias)
        )
        if similar is not None:
            scores = gathered_products(frames[0], *similar, weight, bias, num_heads)
        elif learns or len(frames) <= 2:
            scores = embedded_products(frames, weight, bias, num_heads)
        else:
            scores = folded_products(frames, weight, bias, num_heads)
        weights = (scores * (frames.shape[2] / num_heads) ** -0.5).softmax(dim=0)
        in_heads = frames.unflatten(2, (num_heads, -1))
        return (in_heads * weights[:, :, :, None]).sum(dim=0).flatten(1, 2)


def embedded_products(frames: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> Tensor:
    """Products of the embedding of each frame's features with that of the target's.

    Args:
        frames: As in :func:`average_over_frames`.
        weight: The same.
        bias: The same.
        num_heads: N, 1 or more.

    Returns:
        (1 + S, R, N, h, w).
    """
    embedded = functional.conv2d(frames.flatten(0, 1), weight, bias, padding=1)
    embedded = embedded.unflatten(1, (num_heads, -1)).unflatten(0, frames.shape[:2])
    return (embedded * embedded[:1]).sum(dim=3)


def folded_products(frames: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> Tensor:
    """Gives what :func:`embedded_products` gives, without a convolution for each frame.

    The convolution ``W`` is linear: ``<W z, e> = <z, Wᵀ e>``. So it is applied to the embedding of
    the target, backwards and once, which makes 9 N C numbers for each cell: give some RoIs at a
    time (:func:`folded_bytes`).

    Args:
        frames: As in :func:`average_over_frames`.
        weight: The same.
        bias: The same.
        num_heads: N, 1 or more.

    Returns:
        (1 + S, R, N, h, w).
    """
    count, rois, channels, height, width = frames.shape
    target = functional.conv2d(frames[0], weight, bias, padding=1)
    # What tap t of the convolution has from a cell u goes to the cell u - t, whose embedding it is
    # multiplied with.
    goals = functional.unfold(target, 3, padding=1).view(rois, num_heads, -1, 9, height * width)
    goals = goals.flip(3).permute(3, 1, 0, 4, 2).reshape(9 * num_heads, -1, channels // num_heads)
    kernels = weight.view(num_heads, -1, channels, 9).permute(3, 0, 1, 2).flatten(0, 1)
    queries = goals @ kernels  # (9 N, R h w, C)
    cells = frames.permute(1, 3, 4, 2, 0).reshape(-1, channels, count)
    parts = (queries.transpose(0, 1) @ cells).view(rois, -1, 9, num_heads, count)
    parts = parts.flip(2).permute(4, 0, 3, 2, 1).reshape(-1, 9, height * width)
    products = functional.fold(parts, (height, width), 3, padding=1)
    # The share of the bias is the same for all frames.
    constant = target.view(rois, num_heads, -1, height, width) * bias.view(num_heads, -1, 1, 1)
    return products.view(count, rois, num_heads, height, width) + constant.sum(dim=2)


def embed_positions(support: Tensor, weight: Tensor) -> Tensor:
    """What the taps of a 3x3 convolution make of each position of a support frame.

    Args:
        support: (U, C).
        weight: (C, C, 3, 3).

    Returns:
        (9 U, C), tap by tap, in single precision at least.
    """
    with torch.autocast(support.device.type, enabled=False):
        taps = at_least_single(weight).permute(2, 3, 1, 0).flatten(0, 1)  # (9, C, C), as z W
        return (at_least_single(support) @ taps).flatten(0, 1)


@torch.no_grad()
def gathered_products(
    target: Tensor,
    found: Sequence[Found],
    tables: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    num_heads: int,
) -> Tensor:
    """Gives what :func:`embedded_products` gives, from embeddings of the positions themselves.

    What a cell found is a mean of K positions, and the convolution is linear: its output is a sum
    of 9 K rows of a table, which is made once for all cells.

    Args:
        target: (R, C, h, w), the features of the RoIs.
        found: What their cells found in each support frame.
        tables: :func:`embed_positions` of each support frame.
        weight: As in :func:`average_over_frames`.
        bias: The same.
        num_heads: N, 1 or more.

    Returns:
        (1 + S, R, N, h, w).
    """
    rois, channels, height, width = target.shape
    embedded = functional.conv2d(target, weight, bias, padding=1).permute(0, 2, 3, 1)
    embedded = embedded.reshape(-1, num_heads, channels // num_heads)

    def taps_of(cells: Tensor) -> Tensor:
        """Cells around each cell, (P, K) to (P, 9, K), with zeros outside of the RoI."""
        grid = cells.view(rois, height, width, -1)
        around = functional.pad(grid, (0, 0, 1, 1, 1, 1)).unfold(1, 3, 1).unfold(2, 3, 1)
        return around.permute(0, 1, 2, 4, 5, 3).reshape(len(cells), 9, -1)

    products = [embedded.square().sum(dim=2)]
    for (positions, shares), table in zip(found, tables, strict=True):
        starts = torch.arange(0, len(table), len(table) // 9, device=table.device)
        rows = (taps_of(positions) + starts[:, None]).flatten(1)
        read = _sums_of_rows(table, rows, taps_of(shares).flatten(1)) + bias
        products.append((read.view_as(embedded) * embedded).sum(dim=2))
    products = torch.stack(products).view(-1, rois, height, width, num_heads)
    return products.permute(0, 1, 4, 2, 3)


def _sums_of_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Sums of rows of a table (T, C), by their numbers and weights (P, K): (P, C)."""
    return functional.embedding_bag(rows, table, mode='sum', per_sample_weights=weights)


def folded_bytes(channels: int, num_heads: int) -> int:
    """Memory that :func:`folded_products` takes for a cell of a RoI, in single precision."""
    return 4 * 9 * num_heads * channels
