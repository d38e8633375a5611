"""Attention between frames, per level of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from vispropnet.models.looks import Look
from vispropnet.ops.affinity import BUDGET, affinity, attend
from vispropnet.registry import MODELS


@MODELS.register_module()
class AttentionNeck(BaseModule):
    """Adds to each position what it attends to in a reference frame.

    Per level ``x + gamma * softmax(q kᵀ) v`` with ``q = relu(conv1 x)``, ``k = relu(conv1 r)`` and
    ``v = relu(conv2 ·)``; softmax over the reference positions, without scaling; the same weights
    for all levels.

    Args:
        channels: Channels of each level.
        value: What is summed over the reference positions: ``'reference'`` features, or, as in the
            published trial, the ``'current'`` ones, although their positions are of another frame.
        gamma: Where the learnable weight starts.

    Raises:
        ValueError: for another ``value``.
    """

    def __init__(self, channels: int = 256, value: str = 'current', gamma: float = 0.5) -> None:
        super().__init__()
        if value not in ('current', 'reference'):
            raise ValueError(f"attn_neck: value must be 'current' or 'reference', got {value!r}")
        self.channels = channels
        self.value = value
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.gamma = nn.Parameter(torch.full((1,), float(gamma)))
        self.budget = BUDGET

    def forward(self, current: Sequence[Tensor], reference: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Attends from the current to the reference frames, per level (B, C, H, W).

        Args:
            current: Per level (B, C, H, W).
            reference: The same of the reference frames.
        """
        return tuple(self._attend(*pair) for pair in zip(current, reference, strict=True))

    def correlation(self, current: Tensor, reference: Tensor, positions: Tensor) -> Tensor:
        """Attention of some current positions of one level, for analysis.

        Args:
            current: (B, C, H, W).
            reference: (B, C, H', W') of the reference frames.
            positions: (K,) int64 in the current frame, counted row by row.

        Returns:
            (B, H', W', K), which sums up to 1 over the reference positions.
        """
        query, key = self.conv1(current).relu(), self.conv1(reference).relu()
        # Positions are chosen first: nothing of size P x Q is made.
        columns = affinity(key.flatten(2), query.flatten(2)[:, :, positions])
        return columns.reshape(len(current), *reference.shape[-2:], len(positions))

    def looks(
        self, current: Sequence[Tensor], reference: Sequence[Tensor], strides: Sequence[int]
    ) -> list[Look]:
        """Correlation of each level, for analysis.

        Args:
            current: Per level (1, C, H, W).
            reference: The same of the other frame.
            strides: Of each level.
        """

        def look(one: Tensor, other: Tensor, stride: int) -> Look:
            return Look(
                f'attention neck, stride {stride}',
                one.shape[-2:],
                stride,
                lambda some: self.correlation(one, other, some)[0],
                # Which features are summed up there is a setting of its own.
                f'the neck sums up features of the {self.value} frame at these places',
            )

        return [look(*level) for level in zip(current, reference, strides, strict=True)]

    def _attend(self, current: Tensor, reference: Tensor) -> Tensor:
        query, key = self.conv1(current).relu(), self.conv1(reference).relu()
        value = self.conv2(reference if self.value == 'reference' else current).relu()
        # (B, positions, C), contiguous: fused kernels want rows.
        rows = (part.flatten(2).transpose(1, 2).contiguous() for part in (query, key, value))
        attended = attend(*rows, self.budget).transpose(1, 2)
        return current + self.gamma * attended.reshape(current.shape)
