"""Temporal RoI Align (Gong et al., AAAI 2021): RoI features from several frames of a clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.model import kaiming_init
from torch import Tensor, nn

from vispropnet.models.fewer_waits import HostLevelRoIExtractor
from vispropnet.models.support import Levels, SupportedLevels
from vispropnet.ops.temporal_roi_align import (
    Found,
    average_over_frames,
    embed_positions,
    folded_bytes,
    most_similar,
    read_found,
    read_similar,
)
from vispropnet.ops.transfer import to_device, to_host
from vispropnet.registry import MODELS

LEVELS = ('last', 'own')


class _Group(NamedTuple):
    """RoIs that look at the same map.

    Args:
        rois: Their numbers, (R',) int64, or a slice of all.
        image: Number of the image.
        level: Number of the level.
    """

    rois: Tensor | slice
    image: int
    level: int


@MODELS.register_module()
class TemporalRoIAlign(HostLevelRoIExtractor):
    """RoIAlign whose features are averaged with the most similar ones of other frames.

    The other frames are the support that the levels carry
    (:class:`~vispropnet.models.support.SupportedLevels`); with none, this is RoIAlign. Each cell of
    a RoI looks for similar features anywhere in a support frame, in raw features without an
    embedding; the average is one of raw features as well, so weights of a plain model fit.

    Args:
        roi_layer: As in mmdet's ``SingleRoIExtractor``.
        out_channels: C.
        featmap_strides: Pixels of the network's input per position, of each level.
        finest_scale: As in mmdet's ``SingleRoIExtractor``.
        level: Level of a support frame to search: ``'last'``, the coarsest given (as mmtracking),
            or ``'own'``, that of the RoI itself.
        num_most_similar: Positions of a support frame to average; all if there are fewer.
        num_heads: Heads of the attention over the frames, which has a 3x3 convolution of its own;
            0 for equal weights, without any.
        budget_mib: Memory that similarities may take at a time, in MiB.
        init_cfg: Initialisation, as in mmengine.

    Raises:
        ValueError: for an unknown level, a number that is no positive integer, or heads that do not
            divide the channels.
    """

    needs_support = True

    def __init__(
        self,
        roi_layer: dict,
        out_channels: int,
        featmap_strides: Sequence[int],
        finest_scale: int = 56,
        level: str = 'last',
        num_most_similar: int = 2,
        num_heads: int = 4,
        budget_mib: int = 64,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(roi_layer, out_channels, featmap_strides, finest_scale, init_cfg)
        if level not in LEVELS:
            raise ValueError(f'TemporalRoIAlign: level must be one of {LEVELS}, got {level!r}')
        for name, value, least in (
            ('num_most_similar', num_most_similar, 1),
            ('num_heads', num_heads, 0),
            ('budget_mib', budget_mib, 1),
        ):
            if type(value) is not int or value < least:
                raise ValueError(
                    f'TemporalRoIAlign: {name} must be an integer of {least} or more, got {value!r}'
                )
        if num_heads and out_channels % num_heads:
            raise ValueError(
                f'TemporalRoIAlign: num_heads={num_heads} does not divide '
                f'out_channels={out_channels}'
            )
        self.level = level
        self.support_levels = {len(featmap_strides) - 1} if level == 'last' else None
        self.num_most_similar = num_most_similar
        self.num_heads = num_heads
        self.budget = budget_mib * 2**20
        self.embed = None
        if num_heads:
            # Its draws are its own: all other weights start as they do without it.
            with torch.random.fork_rng(devices=[]):
                self.embed = nn.Conv2d(out_channels, out_channels, 3, padding=1)
                kaiming_init(self.embed)

    def forward(self, feats: Levels, rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Pools features of RoIs, averaged with what is most similar in the support.

        Args:
            feats: Per level (B, C, H, W), with support.
            rois: (R, 5) as image index, x1, y1, x2, y2 in pixels of the network's input.
            roi_scale_factor: Enlarges the RoIs, after their levels were chosen.

        Returns:
            (R, C, h, w).

        Raises:
            ValueError: if the levels carry no support at all: whoever calls this must say which
                frames there are, if only that there are none.
        """
        support = self._support_of(feats)
        own = super().forward(feats, rois, roi_scale_factor)
        if len(support) == 0 or len(rois) == 0:
            # Ranks wait for the gradients of all weights.
            return own + sum(weight.sum() for weight in self.parameters()) * 0.0
        learns = torch.is_grad_enabled() and any(
            one.requires_grad for one in (own, *self.parameters())
        )
        groups, parts = self._groups(feats, rois), []
        for group in groups:
            positions = [one.flatten(1).t() for one in self._maps(group, feats)]
            # Gradients keep everything anyway; without, memory does not grow with frames.
            average = self._average if learns else self._average_without_gradients
            parts.append(average(own[group.rois], positions))
        return _in_order(parts, groups).to(own.dtype)

    @torch.no_grad()
    def places(self, feats: SupportedLevels, rois: Tensor) -> Tensor:
        """Gives where the cells of RoIs look, for analysis.

        Args:
            feats: As in :meth:`forward`.
            rois: As in :meth:`forward`.

        Returns:
            (S, R, h, w, K, 2): x and y, in pixels of the network's input, of the centres of the
            positions found in each support frame, the most similar one first.
        """
        feats = feats[: self.num_inputs]
        own, groups, parts = super().forward(feats, rois), self._groups(feats, rois), []
        for group in groups:
            cells = _rows(own[group.rois])
            stride = self.featmap_strides[group.level]
            found = []
            for one in self._maps(group, feats):
                positions = most_similar(cells, one.flatten(1).t(), *self._search).positions
                places = torch.stack([positions % one.shape[2], positions // one.shape[2]], dim=-1)
                found.append((places + 0.5) * stride)
            parts.append(torch.stack(found, dim=1).unflatten(0, (-1, *own.shape[2:])))
        # Coarse maps may have fewer positions than are wanted.
        fewest = min(part.shape[4] for part in parts)
        ordered = _in_order([part[..., :fewest, :] for part in parts], groups)
        return ordered.permute(3, 0, 1, 2, 4, 5)

    def searched_strides(self, rois: Tensor) -> list[int]:
        """Pixels of the network's input per position of the map that each of R RoIs looks at."""
        return [self.featmap_strides[level] for level in self._levels_of(rois).tolist()]

    def _average(self, own: Tensor, support: Sequence[Tensor]) -> Tensor:
        """Averages features (R', C, h, w) with what they find in positions (U, C) of S frames."""
        cells = _rows(own)
        found = [most_similar(cells, one, *self._search).positions for one in support]
        read = [read_similar(cells, *both) for both in zip(support, found, strict=True)]
        return average_over_frames(_stack(own, read), *self._attention)

    @torch.no_grad()
    def _average_without_gradients(self, own: Tensor, support: Sequence[Tensor]) -> Tensor:
        """Gives what :meth:`_average` gives, some RoIs at a time."""
        cells = _rows(own)
        found = [most_similar(cells, one, *self._search) for one in support]
        tables = self._tables(support, len(cells))
        size = own.shape[2] * own.shape[3]
        block = max(1, self.budget // (size * self._bytes_of_cell(len(support))))
        parts = []
        for start in range(0, len(own), block):
            of_cells = slice(start * size, (start + block) * size)
            here = [Found(*(one[of_cells] for one in both)) for both in found]
            read = [read_found(*both) for both in zip(support, here, strict=True)]
            frames = _stack(own[start : start + block], read)
            similar = () if tables is None else ((here, tables),)
            parts.append(average_over_frames(frames, *self._attention, *similar))
        return torch.cat(parts)

    @property
    def _search(self) -> tuple[int, int]:
        return self.num_most_similar, self.budget

    @property
    def _attention(self) -> tuple[Tensor, Tensor, int] | tuple[()]:
        if self.embed is None:
            return ()
        return self.embed.weight, self.embed.bias, self.num_heads

    def _tables(self, support: Sequence[Tensor], num_cells: int) -> list[Tensor] | None:
        """Embeds the positions (U, C) of S frames, where there are fewer of them than cells."""
        num_positions = sum(len(frame) for frame in support)
        size = 4 * 9 * num_positions * self.out_channels
        if self.embed is None or num_positions > num_cells or size > self.budget:
            return None
        return [embed_positions(frame, self.embed.weight) for frame in support]

    def _bytes_of_cell(self, num_frames: int) -> int:
        own_and_found = 4 * self.out_channels * (1 + num_frames) * (1 + self.num_most_similar)
        return own_and_found + folded_bytes(self.out_channels, self.num_heads)

    def _maps(self, group: _Group, feats: SupportedLevels) -> list[Tensor]:
        """Gives the maps (C, H, W) that a group looks at, without padding."""
        maps = [frame[group.level][group.image] for frame in self._support_of(feats)]
        if feats.sizes is None:
            return maps
        stride = self.featmap_strides[group.level]
        height, width = (math.ceil(side / stride) for side in feats.sizes[group.image])
        return [one[:, :height, :width] for one in maps]

    def _groups(self, feats: Levels, rois: Tensor) -> list[_Group]:
        if self.level == 'last' and len(feats[0]) == 1:
            return [_Group(slice(None), 0, self.num_inputs - 1)]
        levels = self._levels_of(rois)
        table = torch.stack(to_host(rois[:, 0].double(), levels.double()), dim=1)
        kinds, numbers = table.unique(dim=0, return_inverse=True)
        return [
            _Group(
                to_device((numbers == number).nonzero().flatten(), rois.device),
                int(image),
                int(level),
            )
            for number, (image, level) in enumerate(kinds.tolist())
        ]

    def _levels_of(self, rois: Tensor) -> Tensor:
        """Numbers of the levels, (R,), that RoIs look at."""
        if self.level == 'last':
            return rois.new_full((len(rois),), self.num_inputs - 1, dtype=torch.long)
        return self.map_roi_levels(rois, self.num_inputs)

    def _support_of(self, feats: Levels) -> tuple[Levels, ...]:
        if not isinstance(feats, SupportedLevels):
            raise ValueError(
                'TemporalRoIAlign was called with features that carry no support: the head that '
                'holds it does not pass features of other frames (see SupportedLevels)'
            )
        return feats.support


def _rows(features: Tensor) -> Tensor:
    """Gives the cells of RoIs (R, C, h, w) as rows (R h w, C)."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)


def _stack(own: Tensor, read: Sequence[Tensor]) -> Tensor:
    """Stacks features (R, C, h, w) and those read for them, S times (R h w, C)."""
    height, width = own.shape[2:]
    read = [one.view(len(own), height, width, -1).permute(0, 3, 1, 2) for one in read]
    return torch.stack([own, *read])


def _in_order(parts: Sequence[Tensor], groups: Sequence[_Group]) -> Tensor:
    """Joins what belongs to RoIs, group by group, in the order of the RoIs."""
    joined = torch.cat(parts)
    if len(groups) == 1:
        return joined
    return joined[torch.cat([group.rois for group in groups]).argsort()]
