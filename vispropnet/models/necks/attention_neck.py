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
        start_level: Finest level to attend on; finer ones pass unchanged.
        num_levels: Levels from there to attend on; None for all.

    Raises:
        ValueError: for another ``value``, a negative ``start_level`` or no levels.
    """

    def __init__(
        self,
        channels: int = 256,
        value: str = 'current',
        gamma: float = 0.5,
        start_level: int = 0,
        num_levels: int | None = None,
    ) -> None:
        super().__init__()
        if value not in ('current', 'reference'):
            raise ValueError(f"attn_neck: value must be 'current' or 'reference', got {value!r}")
        if start_level < 0 or (num_levels is not None and num_levels < 1):
            raise ValueError(
                'attn_neck: start_level must be 0 or more and num_levels positive or None, got '
                f'{start_level!r} and {num_levels!r}'
            )
        self.channels = channels
        self.value = value
        self.start_level, self.num_levels = start_level, num_levels
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.gamma = nn.Parameter(torch.full((1,), float(gamma)))
        self.budget = BUDGET

    def forward(self, current: Sequence[Tensor], reference: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Attends from the current to the reference frames.

        Args:
            current: Per level (B, C, H, W).
            reference: The same of the reference frames.

        Returns:
            Per level (B, C, H, W).

        Raises:
            ValueError: if there is no level to attend on.
        """
        levels = self.levels(len(current))
        return tuple(
            self._attend(one, other) if level in levels else one
            for level, (one, other) in enumerate(zip(current, reference, strict=True))
        )

    def levels(self, count: int) -> range:
        """Positions of the levels that are attended on, of so many, finest first.

        Raises:
            ValueError: if there is none.
        """
        end = count if self.num_levels is None else min(count, self.start_level + self.num_levels)
        if self.start_level >= end:
            raise ValueError(
                f'attn_neck: start_level={self.start_level}, but there are {count} levels'
            )
        return range(self.start_level, end)

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
        """Correlation of each level that is attended on, for analysis.

        Args:
            current: Per level (1, C, H, W).
            reference: The same of the other frame.
            strides: Of each level.
        """

        def look(level: int) -> Look:
            pair = current[level], reference[level]
            return Look(
                f'attention neck, stride {strides[level]}',
                current[level].shape[-2:],
                strides[level],
                lambda some: self.correlation(*pair, some)[0],
                # Which features are summed up there is a setting of its own.
                f'the neck sums up features of the {self.value} frame at these places',
            )

        return [look(level) for level in self.levels(len(current))]

    def _attend(self, current: Tensor, reference: Tensor) -> Tensor:
        query, key = self.conv1(current).relu(), self.conv1(reference).relu()
        value = self.conv2(reference if self.value == 'reference' else current).relu()
        # (B, positions, C), contiguous: fused kernels want rows.
        rows = (part.flatten(2).transpose(1, 2).contiguous() for part in (query, key, value))
        attended = attend(*rows, self.budget).transpose(1, 2)
        return current + self.gamma * attended.reshape(current.shape)
