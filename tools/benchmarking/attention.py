"""The attention neck beside its dense form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarking.checks import check_device, check_positive, check_size
from benchmarking.inputs import moving_pyramids
from benchmarking.measure import (
    Variant,
    circumstances,
    compare,
    largest_difference,
    report,
)
from vispropnet.engine.quiet import quiet
from vispropnet.models.necks.attention_neck import AttentionNeck
from vispropnet.registry import MODELS

BASELINE = 'the dense form: the whole softmax of every level, level by level'


@dataclass(frozen=True)
class Settings:
    """What is attended on.

    Args:
        size: Width and height of the frames in pixels.
        levels: Feature levels, of strides 4, 8, 16 and so on.
        channels: Of each level.
        value: As in :class:`~vispropnet.models.necks.attention_neck.AttentionNeck`.
        seed: Of weights and inputs.
        device: Where it runs.
    """

    size: tuple[int, int] = (640, 384)
    levels: int = 5
    channels: int = 256
    value: str = 'current'
    seed: int = 0
    device: str = 'cpu'

    def check(self) -> None:
        """Checks them.

        Raises:
            UserError: for what cannot be run.
        """
        check_positive(levels=self.levels, channels=self.channels)
        check_size(self.size)
        check_device(self.device)


def benchmark(settings: Settings, repeats: int, memory: bool = True) -> dict[str, Any]:
    """Measures, prints and returns the figures.

    Args:
        settings: What is attended on.
        repeats: Timed runs of each.
        memory: Whether memory is measured.

    Returns:
        The JSON object of the last line.

    Raises:
        UserError: for settings that cannot be run.
    """
    settings.check()
    check_positive(repeats=repeats)
    small = replace(settings, size=(64, 64))
    result = compare(make, settings, small, repeats, settings.device, memory)
    difference = max(
        largest_difference(one, other)
        for one, other in zip(result.outputs['ours'], result.outputs['baseline'], strict=True)
    )
    measured = {
        'baseline': BASELINE,
        **{name: getattr(settings, name) for name in ('size', 'levels', 'channels', 'value')},
        **circumstances(settings.device, repeats, settings.seed),
    }
    return report('attention', result, difference, measured)


def make(name: str, settings: Settings) -> Variant:
    """Builds one of the two for :func:`~benchmarking.measure.compare`.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: What is attended on.
    """
    neck, current, reference = build_inputs(settings)

    @torch.no_grad()
    def run(_: None) -> Sequence[Tensor]:
        if name == 'ours':
            return neck(current, reference)
        return plain_neck(neck, current, reference)

    return Variant(run)


def build_inputs(settings: Settings) -> tuple[AttentionNeck, list[Tensor], list[Tensor]]:
    """Makes neck and inputs from the seed.

    Args:
        settings: What is attended on.

    Returns:
        The neck, and per level (1, C, H, W) of the current and of the reference frame.
    """
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
    """The definition, written plainly.

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
