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

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from vispropnet.ops.affinity import at_least_single

BUDGET = 64 * 2**20
# On a CPU the similarities of a block stay in a processor's cache.
CACHED_BLOCK = 4 * 2**20
EPSILON = 1e-8


@torch.no_grad()
def most_similar(cells: Tensor, support: Tensor, num: int, budget: int = BUDGET) -> Tensor:
    """Finds the positions of a support frame whose features are most similar to those of cells.

    Similarity is the cosine of the features as they are; that of a feature of zeros is 0.

    Args:
        cells: (P, C).
        support: (U, C); U is not 0.
        num: K; U if there are fewer positions.
        budget: Bytes that the similarities of one block may take. A block has at least one cell.

    Returns:
        (P, K) int64 positions, the most similar one first.
    """
    with torch.autocast(cells.device.type, enabled=False):
        # In half precision cosines near 1 tie. The length of a cell's feature changes no order.
        cells = at_least_single(cells)
        keys = functional.normalize(at_least_single(support), dim=1, eps=EPSILON).t()
        num = min(num, keys.shape[1])
        if cells.device.type == 'cpu':
            budget = min(budget, CACHED_BLOCK)
        block = max(1, budget // (keys.shape[1] * keys.element_size()))
        found = [(some @ keys).topk(num, dim=1).indices for some in cells.split(block)]
        return torch.cat(found)


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


def average_over_frames(
    target: Tensor,
    found: Iterable[Tensor],
    embed: Callable[[Tensor], Tensor] | None = None,
    num_heads: int = 0,
) -> Tensor:
    """Means of a RoI's features and of what they found in support frames.

    With heads, the weights are, for each cell and head, a softmax over the frames, the target's own
    among them, of the products of the embedding of each frame's features with that of the target's,
    over the square root of the channels of a head. The frames are taken one after the other, so
    that memory does not grow with their number.

    Args:
        target: (R, C, h, w).
        found: S times the same.
        embed: (R, C, h, w) to the same shape; with heads only.
        num_heads: N, which divides C; 0 for equal weights.

    Returns:
        (R, C, h, w) in single precision at least; exactly the target if there is no support.
    """
    target = at_least_single(target)
    if num_heads == 0:
        total, count = target, 1
        for one in found:
            total, count = total + one, count + 1
        return total / count
    query = _in_heads(embed(target), num_heads)
    scale = (target.shape[1] // num_heads) ** -0.5

    def score(features: Tensor) -> Tensor:
        return (_in_heads(embed(features), num_heads) * query).sum(dim=2, keepdim=True) * scale

    # Sums relative to the largest score so far, as its exponential alone may be too large.
    largest = (query * query).sum(dim=2, keepdim=True) * scale
    norm, total = torch.ones_like(largest), _in_heads(target, num_heads)
    score_of_target, largest = largest, largest.detach()
    norm = torch.exp(score_of_target - largest)
    total = total * norm
    for one in found:
        new = score(one)
        before, largest = largest, torch.maximum(largest, new.detach())
        kept, gained = torch.exp(before - largest), torch.exp(new - largest)
        norm = norm * kept + gained
        total = total * kept + _in_heads(one, num_heads) * gained
    return (total / norm).flatten(1, 2)


def _in_heads(features: Tensor, num_heads: int) -> Tensor:
    return at_least_single(features).unflatten(1, (num_heads, -1))
