"""Temporal RoI Align beside the operator written plainly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor
from torch.nn import functional

from benchmarking.inputs import moving_pyramids
from benchmarking.measure import Variant, compare, largest_difference, report
from benchmarking.settings import TemporalRoIAlignSettings as Settings
from vispropnet.models.roi_extractors import TemporalRoIAlign
from vispropnet.models.support import SupportedLevels

BASELINE = 'the operator written plainly: similarities of all cells with all frames at once'
STRIDES = (4, 8, 16, 32)
# Cells that differ by more have found other positions.
CLOSE = 1e-5


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures, prints and returns the JSON object of the last line."""
    small = replace(settings, size=(64, 64), frames=1, rois=4)
    result = compare(make, settings, small)
    ours, baseline = result.outputs['ours'], result.outputs['baseline']
    # Of positions that are similar but for rounding, either may be among the most similar ones.
    apart = ((ours - baseline).abs().amax(dim=1) > CLOSE).sum().item()
    measured = dict(baseline=BASELINE, cells=ours[:, 0].numel(), cells_apart=apart)
    difference = largest_difference(ours, baseline)
    return report('temporal-roi-align', settings, result, difference, **measured)


def make(name: str, settings: Settings) -> Variant:
    """Builds ``'ours'`` or ``'baseline'``."""
    align, levels, rois = build_inputs(settings)

    @torch.no_grad()
    def ours(_: None) -> Tensor:
        return align(levels, rois)

    @torch.no_grad()
    def baseline(_: None) -> Tensor:
        return plain_temporal_roi_align(align, levels, rois)

    return Variant(ours if name == 'ours' else baseline)


def build_inputs(settings: Settings) -> tuple[TemporalRoIAlign, SupportedLevels, Tensor]:
    """Makes the extractor, the levels with their support, and RoIs of all sizes."""
    torch.manual_seed(settings.seed)
    align = TemporalRoIAlign(
        dict(type='RoIAlign', output_size=7, sampling_ratio=0),
        settings.channels,
        STRIDES,
        level=settings.level,
        num_most_similar=settings.similar,
        num_heads=settings.heads,
    )
    frames = moving_pyramids(
        settings.size, settings.frames + 1, settings.channels, len(STRIDES), settings.seed
    )
    *support, current = ([level.to(settings.device) for level in frame] for frame in frames)
    generator = torch.Generator().manual_seed(settings.seed)
    # Sides from a twentieth of the frame's to all of it, so that each level has some.
    size = torch.tensor(settings.size, dtype=torch.float)
    sides = 0.05 ** torch.rand(settings.rois, 1, generator=generator) * size
    corners = torch.rand(settings.rois, 2, generator=generator) * (size - sides)
    rois = torch.cat([torch.zeros(settings.rois, 1), corners, corners + sides], dim=1)
    return (
        align.to(settings.device).eval(),
        SupportedLevels(current, support),
        rois.to(settings.device),
    )


def plain_temporal_roi_align(
    align: TemporalRoIAlign, levels: SupportedLevels, rois: Tensor
) -> Tensor:
    """The definition (Gong et al. 2021, section 3), written plainly, for one image.

    Args:
        align: Gives settings and weights.
        levels: Per level (1, C, H, W), with the support.
        rois: (R, 5).

    Returns:
        (R, C, h, w).
    """
    target = SingleRoIExtractor.forward(align, tuple(levels), rois)
    chosen = align.map_roi_levels(rois, len(levels))
    if align.level == 'last':
        chosen = torch.full_like(chosen, len(levels) - 1)
    found = target.new_zeros(len(levels.support), *target.shape)
    for number in range(len(levels)):
        some = (chosen == number).nonzero().flatten()
        if len(some) > 0:
            support = torch.cat([frame[number] for frame in levels.support]).flatten(2)
            found[:, some] = _most_similar(target[some], support, align.num_most_similar)
    frames = torch.cat([target[None], found])
    if align.num_heads == 0:
        return frames.mean(dim=0)
    embedded = align.embed(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
    embedded = embedded.unflatten(2, (align.num_heads, -1))
    scores = (embedded * embedded[:1]).sum(dim=3) / embedded.shape[3] ** 0.5
    weights = scores.softmax(dim=0).repeat_interleave(embedded.shape[3], dim=2)
    return (weights * frames).sum(dim=0)


def _most_similar(cells: Tensor, support: Tensor, num: int) -> Sequence[Tensor]:
    """What the cells (R, C, h, w) find in the frames (S, C, U): (S, R, C, h, w)."""
    flat = cells.permute(0, 2, 3, 1).flatten(0, 2)
    cosines = functional.normalize(flat, dim=1) @ functional.normalize(support, dim=1)
    largest, positions = cosines.topk(min(num, support.shape[2]), dim=2)
    frames = torch.arange(len(support), device=support.device)[:, None, None]
    read = support.transpose(1, 2)[frames, positions]
    means = (largest.softmax(dim=2)[..., None] * read).sum(dim=2)
    return means.view(len(support), len(cells), *cells.shape[2:], -1).permute(0, 1, 4, 2, 3)
