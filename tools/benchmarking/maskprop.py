"""The linear head of MaskProp, folded, beside the head as it is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarking.inputs import moving_pyramids
from benchmarking.measure import Variant, compare, largest_difference, report
from benchmarking.settings import MaskpropSettings as Settings
from vispropnet.models.prop_heads import MaskPropagationHead
from vispropnet.ops.deformable import deform_conv2d

BASELINE = 'the head as written: a deformable convolution of all channels for each object'
STRIDE = 8


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures, prints and returns the JSON object of the last line.

    A run carries the objects of a frame to all other frames of its clip.
    """
    small = replace(settings, size=(64, 64), reach=1, objects=2)
    result = compare(make, settings, small)
    difference = largest_difference(result.outputs['ours'], result.outputs['baseline'])
    return report('maskprop', settings, result, difference, baseline=BASELINE)


def make(name: str, settings: Settings) -> Variant:
    """Builds ``'ours'`` or ``'baseline'``."""
    head, features, masks = build_inputs(settings)
    source, *targets = features

    @torch.no_grad()
    def ours(_: None) -> Tensor:
        # In use each frame's maps are made once, for all that are carried to it and from it.
        maps = head.maps([source]).of(0)
        carried = [head.carry(maps, masks, head.maps([one]).of(0)) for one in targets]
        return torch.stack(carried)

    @torch.no_grad()
    def baseline(_: None) -> Tensor:
        return torch.stack([unfolded(head, source, masks, target) for target in targets])

    return Variant(ours if name == 'ours' else baseline)


def build_inputs(settings: Settings) -> tuple[MaskPropagationHead, list[Tensor], Tensor]:
    """Makes the head, the features (1, C, h, w) of a frame and its 2 T others, and masks."""
    torch.manual_seed(settings.seed)
    head = MaskPropagationHead(
        settings.channels, level=0, stride=STRIDE, head='paper', masks_at_once=settings.objects
    )
    # As after training: offsets of some cells, a kernel of which every tap counts.
    torch.nn.init.normal_(head.offset.weight, std=0.05)
    torch.nn.init.normal_(head.readout.deform_weight, std=0.3 * settings.channels**-0.5)
    torch.nn.init.normal_(head.readout.logit.weight, std=0.3)
    frames = moving_pyramids(
        settings.size, 2 * settings.reach + 1, settings.channels, 2, settings.seed
    )
    # The level of stride 8.
    features = [levels[1].to(settings.device) for levels in frames]
    generator = torch.Generator().manual_seed(settings.seed)
    masks = torch.rand(settings.objects, *features[0].shape[2:], generator=generator)
    return head.to(settings.device).eval(), features, masks.to(settings.device)


def unfolded(head: MaskPropagationHead, source: Tensor, masks: Tensor, target: Tensor) -> Tensor:
    """The definition (MaskProp, section 3.2), written plainly, for one pair of frames.

    Args:
        head: Gives the weights.
        source: (1, C, h, w) features of the frame of the masks.
        masks: (N, h, w).
        target: (1, C, h, w) features of the other frame.

    Returns:
        (N, h, w).
    """
    offsets = head.offsets(head.motion(source), head.motion(target))
    instances = source * masks[:, None]
    offsets = offsets.expand(len(masks), -1, -1, -1)
    carried = deform_conv2d(instances, offsets, head.readout.deform_weight, padding=1)
    logits = functional.conv2d(carried + target, head.readout.logit.weight)[:, 0]
    return logits.softmax(dim=0) * head.attention(target)[0, 0].sigmoid()
