"""Learnable part of the inter-frame affinity: the similarity of positions of two frames.

An affinity is ``rᵀ W x`` of reference features r and current features x, see
:mod:`vispropnet.ops.affinity`. The classes here hold W, of one kind or another. Called with the
current features (C, Q) and the labels (N,) of the objects to be propagated, they give ``W x``:
(N, C, Q) if ``per_object``, else (1, C, Q), the same for all objects.
"""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from vispropnet.registry import MODELS


@MODELS.register_module()
class PlainAffinity(BaseModule):
    """``rᵀ x`` (ObjProp, section 3.2): nothing to learn.

    Args:
        channels: Channels of the features; any will do.
    """

    per_object = False

    def __init__(self, channels: int | None = None) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, current: Tensor, labels: Tensor) -> Tensor:
        """Gives the current features as they are."""
        return current[None]


@MODELS.register_module()
class WeightedAffinity(BaseModule):
    """``rᵀ W x`` with one learnable matrix, the identity at the start.

    Args:
        channels: Channels of the features.
    """

    per_object = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.weight = nn.Parameter(torch.eye(channels))

    def forward(self, current: Tensor, labels: Tensor) -> Tensor:
        """Weighs the current features."""
        return self.weight @ current[None]


@MODELS.register_module()
class CategoryAffinity(BaseModule):
    """``rᵀ (I + U_k V_kᵀ) x`` with a matrix of low rank per category k, the identity at the start.

    U starts as N(0, 1 / C), V as zeros: so V learns from the first step on, and then U.

    Args:
        channels: Channels of the features.
        num_classes: Categories.
        rank: Rank of the learnable part.

    Raises:
        ValueError: if ``num_classes`` or ``rank`` is not positive.
    """

    per_object = True

    def __init__(self, channels: int, num_classes: int, rank: int = 8) -> None:
        super().__init__()
        if num_classes < 1 or rank < 1:
            raise ValueError(
                f'CategoryAffinity: num_classes and rank must be positive, got {num_classes} and '
                f'{rank}'
            )
        self.channels = channels
        self.num_classes = num_classes
        self.left = nn.Parameter(torch.randn(num_classes, channels, rank) * channels**-0.5)
        self.right = nn.Parameter(torch.zeros(num_classes, channels, rank))

    def forward(self, current: Tensor, labels: Tensor) -> Tensor:
        """Weighs the current features for each object by its category."""
        left, right = self.left[labels], self.right[labels]
        return current[None] + left @ (right.transpose(1, 2) @ current[None])
