"""A clip with what a mask propagation head carries to its frames, as arrays to be drawn.

Shapes: N objects; h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vispropnet.errors import UserError
from vispropnet.evaluation.propagation_quality import encode_shown
from vispropnet.models.detectors import MaskProp
from vispropnet.ops.deformable import masked_deform_conv, sampling_places


@dataclass(frozen=True)
class CarriedFrame:
    """A frame of a clip, with what was carried to it.

    Args:
        title: Above it.
        image: (H, W, 3) uint8, RGB.
        features: (N, h, w): strength of the carried features of each object.
        masks: (N, h, w) in [0, 1].
        offsets: (2, h, w) in cells: how far down and right of itself a cell is read, the mean over
            the kernel.
        stride: Pixels per cell.
    """

    title: str
    image: np.ndarray
    features: np.ndarray
    masks: np.ndarray
    offsets: np.ndarray
    stride: int


@torch.no_grad()
def carry_clip(
    model: MaskProp, frames: Sequence[dict[str, Any]], centre: int, objects: int = 2
) -> list[CarriedFrame]:
    """Carries the true masks of a frame's largest objects to all frames of a clip.

    Args:
        model: In evaluation mode.
        frames: Of the clip, as :func:`~vispropnet.evaluation.propagation_quality.encode_shown`
            takes them.
        centre: Position of the frame that the masks are of.
        objects: How many, at most.

    Raises:
        UserError: if the frame shows no object.
    """
    head = model.prop_head
    levels, masks, sample = encode_shown(model, frames[centre])
    if len(masks) == 0:
        number = sample.metainfo.get('frame_id', centre)
        raise UserError(f'frame {number} shows no object, so there is no mask to carry.')
    largest = masks.sum(dim=(1, 2)).argsort(descending=True, stable=True)[:objects]
    cells, source = head.cells(masks[largest]), head.maps(levels).of(0)
    inputs = head.readout.kernel_inputs(levels[head.level])[0]
    clip = []
    for at, frame in enumerate(frames):
        target_levels, _, _ = encode_shown(model, frame)
        target = head.maps(target_levels).of(0)
        offsets = head.offsets(source.motion[None], target.motion[None])[0]
        places = sampling_places(offsets)
        features = masked_deform_conv(inputs, cells, places, head.readout.deform_weight)
        clip.append(
            CarriedFrame(
                title='its own frame' if at == centre else f'd = {at - centre:+d}',
                image=_image(frame),
                features=_array(features.norm(dim=1)),
                masks=_array(head.carry(source, cells, target)),
                offsets=_array(offsets.unflatten(0, (-1, 2)).mean(dim=0)),
                stride=head.stride,
            )
        )
    return clip


def _image(frame: dict[str, Any]) -> np.ndarray:
    """The frame as it is loaded, BGR, as (H, W, 3) RGB."""
    return frame['inputs'].flip(0).permute(1, 2, 0).cpu().numpy()


def _array(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
