"""Matching of queries from frame to frame (MinVIS, section 3.2)."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional


def cosine_similarities(embeddings: Tensor, others: Tensor) -> Tensor:
    """Cosines of the angles between embeddings.

    Args:
        embeddings: (N, C).
        others: (M, C).

    Returns:
        (N, M) float32 in [-1, 1]; 0 where an embedding has no length.
    """
    # In single precision: half precision cannot tell similar embeddings apart.
    with torch.autocast(embeddings.device.type, enabled=False):
        first, second = (functional.normalize(one.float(), dim=1) for one in (embeddings, others))
        return first @ second.t()


def match_queries(similarities: Tensor) -> Tensor:
    """Gives each query of the frame before one of this frame, so that the sum is largest.

    Args:
        similarities: (Q, Q) on the CPU, of the queries of the frame before with those of this one.

    Returns:
        (Q,) int64: the query of this frame that goes on with each.
    """
    _, chosen = linear_sum_assignment(similarities.nan_to_num(0.0).numpy(), maximize=True)
    return torch.from_numpy(chosen).long()
