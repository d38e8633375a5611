"""The attention neck beside its dense form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarking.inputs import moving_pyramids
from benchmarking.measure import Variant, compare, largest_difference, report
from benchmarking.settings import AttentionSettings as Settings
from vispropnet.engine.quiet import quiet
from vispropnet.models.necks.attention_neck import AttentionNeck
from vispropnet.registry import MODELS

BASELINE = 'the dense form: the whole softmax of every level, level by level'


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures, prints and returns the JSON object of the last line."""
    result = compare(make, settings, replace(settings, size=(64, 64)))
    difference = max(
        largest_difference(one, other)
        for one, other in zip(result.outputs['ours'], result.outputs['baseline'], strict=True)
    )
    return report('attention', settings, result, difference, baseline=BASELINE)


def make(name: str, settings: Settings) -> Variant:
    """Builds ``'ours'`` or ``'baseline'``."""
    neck, current, reference = build_inputs(settings)

    @torch.no_grad()
    def ours(_: None) -> Sequence[Tensor]:
        return neck(current, reference)

    @torch.no_grad()
    def baseline(_: None) -> Sequence[Tensor]:
        return plain_neck(neck, current, reference)

    return Variant(ours if name == 'ours' else baseline)


def build_inputs(settings: Settings) -> tuple[AttentionNeck, list[Tensor], list[Tensor]]:
    """Makes the neck, and per level (1, C, H, W) of the current and of the reference frame."""
    torch.manual_seed(settings.seed)
    with quiet():
        neck = MODELS.build(
            dict(type='AttentionNeck', channels=settings.channels, value=settings.value)
        )
        neck.init_weights()
    frames = moving_pyramids(settings.size, 2, settings.channels, settings.levels, settings.seed)
    reference, current = ([level.to(settings.device) for level in frame] for frame in frames)
    return neck.to(settings.device).eval(), current, reference


def plain_neck(
    neck: AttentionNeck, current: Sequence[Tensor], reference: Sequence[Tensor]
) -> list[Tensor]:
    """Attends by the definition, written plainly.

    Args:
        neck: Gives the weights.
        current: Per level (1, C, H, W).
        reference: The same of the reference frame.

    Returns:
        Per level (1, C, H, W).
    """
    outputs = []
    for one, other in zip(current, reference, strict=True):
        query = neck.conv1(one).relu().flatten(2)
        key = neck.conv1(other).relu().flatten(2)
        value = neck.conv2(other if neck.value == 'reference' else one).relu().flatten(2)
        # (B, reference positions, current positions)
        correlation = (key.transpose(1, 2) @ query).softmax(dim=1)
        outputs.append(one + neck.gamma * (value @ correlation).view_as(one))
    return outputs
