"""Space-time memory as pure functions (STCN, Cheng et al., NeurIPS 2021).

Shape legend:
    N  positions of the memory, frame by frame
    Q  positions of the current frame
    C  channels of keys
    D  channels of values, of all objects side by side
    K  objects
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

# Bytes that similarities may take at once.
BUDGET = 32 * 2**20
# Keys and values, (N, C) and (N, D), of a part of the memory.
Part = tuple[Tensor, Tensor]


def similarities(keys: Tensor, query: Tensor) -> Tensor:
    """Negative squared distances over the root of C, without the query's own length.

    That cancels in the softmax over the memory.

    Args:
        keys: (..., N, C).
        query: (..., Q, C).

    Returns:
        (..., Q, N).
    """
    lengths = keys.square().sum(dim=-1).unsqueeze(-2)
    return (2 * query @ keys.transpose(-1, -2) - lengths) / keys.shape[-1] ** 0.5


def read_out(
    memory: Sequence[Part], query: Tensor, top_k: int | None = None, budget: int = BUDGET
) -> Tensor:
    """Means of the memory's values, weighted by the softmax of their keys' similarities.

    In float32, also under autocast; a few positions of the current frame at a time.

    Args:
        memory: One part or several, which count as one memory.
        query: (Q, C) keys of the current frame.
        top_k: Most similar positions of the memory that count; None for all.
        budget: Bytes that similarities may take at once.

    Returns:
        (Q, D) float32.
    """
    with torch.autocast(query.device.type, enabled=False):
        memory = [(keys.float(), values.float()) for keys, values in memory]
        positions = sum(len(keys) for keys, _ in memory)
        # Similarities and their softmax, or what top-k works on.
        step = max(1, budget // (2 * 4 * positions))
        read = _read_all if top_k is None else _read_top
        return torch.cat([read(memory, some, top_k) for some in query.float().split(step)])


def _read_all(memory: Sequence[Part], query: Tensor, top_k: None) -> Tensor:
    logits = torch.cat([similarities(keys, query) for keys, _ in memory], dim=1)
    weights = logits.softmax(dim=1).split([len(keys) for keys, _ in memory], dim=1)
    return sum(some @ values for some, (_, values) in zip(weights, memory, strict=True))


def _read_top(memory: Sequence[Part], query: Tensor, top_k: int) -> Tensor:
    """The best of each part hold the best of all."""
    best = [similarities(keys, query).topk(min(top_k, len(keys)), dim=1) for keys, _ in memory]
    logits = torch.cat([one.values for one in best], dim=1)
    kept = logits.topk(min(top_k, logits.shape[1]), dim=1)
    weights = torch.zeros_like(logits).scatter(1, kept.indices, kept.values.softmax(dim=1))
    weights = weights.split([one.indices.shape[1] for one in best], dim=1)
    # Sums of chosen rows; a dense product would be with zeros mostly.
    return sum(
        functional.embedding_bag(one.indices, values, per_sample_weights=some, mode='sum')
        for one, some, (_, values) in zip(best, weights, memory, strict=True)
    )


def aggregate(probabilities: Tensor) -> Tensor:
    """Soft aggregation: probabilities of background and objects that sum up to 1.

    Args:
        probabilities: (..., K, H, W) of each object by itself, in [0, 1].

    Returns:
        (..., 1 + K, H, W) float32, the background first.
    """
    with torch.autocast(probabilities.device.type, enabled=False):
        objects = probabilities.float()
        background = (1 - objects).prod(dim=-3, keepdim=True)
        every = torch.cat([background, objects], dim=-3).clamp(1e-7, 1 - 1e-7)
        odds = every / (1 - every)
        return odds / odds.sum(dim=-3, keepdim=True)


def bootstrapped_cross_entropy(probabilities: Tensor, target: Tensor, share: float) -> Tensor:
    """Mean cross-entropy of the hardest pixels.

    Args:
        probabilities: (1 + K, H, W) that sum up to 1.
        target: (H, W) int64, which of them is right.
        share: Part of the pixels that count, in (0, 1].
    """
    losses = -probabilities.gather(0, target[None]).clamp_min(1e-7).log().flatten()
    return losses.topk(max(1, int(share * len(losses))), sorted=False).values.mean()


def hard_share(iteration: int, start: int, end: int, lowest: float) -> float:
    """Part of the pixels that :func:`bootstrapped_cross_entropy` counts in an iteration.

    All until ``start``, then linearly fewer, from ``end`` on ``lowest``.
    """
    left = (end - iteration) / max(end - start, 1)
    return lowest + (1 - lowest) * min(max(left, 0.0), 1.0)


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pads (..., H, W) with zeros on all sides, so that the sides are multiples."""
    top, bottom, left, right = margins(images.shape[-2:], multiple)
    return functional.pad(images, (left, right, top, bottom))


def unpad(images: Tensor, size: Sequence[int], multiple: int) -> Tensor:
    """Takes off what :func:`pad_to_multiple` added to images of (height, width)."""
    top, _, left, _ = margins(size, multiple)
    return images[..., top : top + size[0], left : left + size[1]]


def margins(size: Sequence[int], multiple: int) -> tuple[int, int, int, int]:
    """Rows and columns that are added above, below, left and right of (height, width)."""
    rows, columns = (-int(side) % multiple for side in size)
    return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2
