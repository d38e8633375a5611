"""The mask propagation head (MaskProp, Bertasius and Torresani, CVPR 2020, section 3.2).

Shapes: B images; N objects; K taps of the kernel; h x w cells of the level; H x W the network's
input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from vispropnet.models.prop_heads.clips import check_stride, same_objects
from vispropnet.models.prop_heads.mask_readouts import KERNEL_SIZE, READOUTS
from vispropnet.ops.affinity import at_least_single
from vispropnet.ops.paste import paste_soft
from vispropnet.ops.soft_iou import soft_iou
from vispropnet.ops.transfer import to_device
from vispropnet.registry import MODELS

# Points a cell and axis at which small masks are read before they are averaged.
_POINTS = 4


class FrameMaps(NamedTuple):
    """What the head makes of a frame by itself; of one frame, or of B with a first axis.

    Args:
        motion: (..., C', h, w), whose differences between frames offsets are made of.
        appearance: (..., C'', h, w) of the readout.
        attention: (..., h, w) in [0, 1]: where there is any object.
    """

    motion: Tensor
    appearance: Tensor
    attention: Tensor

    def of(self, image: int) -> FrameMaps:
        """Those of one of the B images."""
        return FrameMaps(*(one[image] for one in self))


@MODELS.register_module()
class MaskPropagationHead(BaseModule):
    """Carries the masks of a frame's objects to other frames of the clip around it.

    Offsets are made of the difference of the frames' features, once for all objects. Features under
    each mask are read at these offsets (deformable convolution) and joined with those of the target
    frame; a softmax over the objects shares out the cells, times an attention that knows no
    objects.

    Args:
        in_channels: Channels of the feature levels.
        level: Position of the level that masks are carried at.
        stride: Stride of that level.
        head: ``'paper'``, the linear head of the paper, computed folded; ``'gated'``, one with a
            ReLU and a background in the softmax. With one object the former gives the attention as
            its mask, whatever the offsets are.
        channels: Channels of ``'gated'``.
        offset_channels: Channels of the residual blocks that make the offsets.
        dilations: Of the blocks' convolutions, a block each. To find where a cell's content was,
            they have to see as far as objects move within the clip.
        masks_at_once: Masks that are carried at a time, which bounds memory.
        loss_weight: Weight of ``loss_prop``.

    Raises:
        ValueError: for another ``head``, or numbers that are not positive.
    """

    def __init__(
        self,
        in_channels: int = 256,
        level: int = 1,
        stride: int = 8,
        head: str = 'gated',
        channels: int = 64,
        offset_channels: int = 128,
        dilations: Sequence[int] = (1, 2, 4),
        masks_at_once: int = 4,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if head not in READOUTS:
            raise ValueError(f'prop_head: head must be one of {", ".join(READOUTS)}, got {head!r}')
        for name, value, least in (
            ('stride', stride, 1),
            ('channels', channels, 2),
            ('offset_channels', offset_channels, 1),
            ('masks_at_once', masks_at_once, 1),
            *(('dilations', dilation, 1) for dilation in dilations),
        ):
            if type(value) is not int or value < least:
                raise ValueError(
                    f'prop_head: {name} must be a whole number of {least} or more, got {value!r}'
                )
        self.in_channels, self.level, self.stride = in_channels, level, stride
        self.masks_at_once, self.loss_weight = masks_at_once, loss_weight
        # Without biases: no difference, no offset. Without movement to start with, too.
        self.motion = nn.Conv2d(in_channels, offset_channels, 1, bias=False)
        self.motion_blocks = nn.ModuleList(
            nn.Conv2d(offset_channels, offset_channels, 3, padding=one, dilation=one, bias=False)
            for one in dilations
        )
        self.offset = nn.Conv2d(offset_channels, 2 * KERNEL_SIZE**2, 3, padding=1, bias=False)
        nn.init.zeros_(self.offset.weight)
        self.readout = READOUTS[head](in_channels, channels)
        self.attention = nn.Conv2d(in_channels, 1, 3, padding=1)
        nn.init.normal_(self.attention.weight, std=0.01)
        # What no object is near to is ruled out by the masks at first, and not by the attention.
        nn.init.constant_(self.attention.bias, 2.0)

    def maps(self, levels: Sequence[Tensor]) -> FrameMaps:
        """Makes the maps of B frames.

        Args:
            levels: Per level (B, C, H', W'), finest first.
        """
        features = levels[self.level]
        attention = at_least_single(self.attention(features)[:, 0]).sigmoid()
        return FrameMaps(self.motion(features), self.readout.appearance(features), attention)

    def offsets(self, source: Tensor, target: Tensor) -> Tensor:
        """Offsets that source frames are read at for target frames.

        Args:
            source: (B, C', h, w) motion maps.
            target: (B, C', h, w) motion maps.

        Returns:
            (B, 2K, h, w) in cells, as in :mod:`vispropnet.ops.deformable`.
        """
        motion = source - target
        for block in self.motion_blocks:
            motion = motion + block(motion).relu()
        return self.offset(motion)

    def carry(self, source: FrameMaps, masks: Tensor, target: FrameMaps) -> Tensor:
        """Carries the masks of one frame to another one.

        Args:
            source: Maps of the frame.
            masks: (N, h, w) in [0, 1] of its objects.
            target: Maps of the other frame.

        Returns:
            (N, h, w) in [0, 1], in single precision at least.
        """
        if len(masks) == 0:
            return at_least_single(masks)
        offsets = self.offsets(source.motion[None], target.motion[None])[0]
        return self.carry_at(offsets, source, masks, target)

    def carry_at(
        self, offsets: Tensor, source: FrameMaps, masks: Tensor, target: FrameMaps
    ) -> Tensor:
        """Carries masks at offsets (2K, h, w) that are known; all else as :meth:`carry`."""
        logits = [
            self.readout.logits(source.appearance, some, target.appearance, offsets)
            for some in masks.split(self.masks_at_once)
        ]
        return self.share_out(torch.cat(logits), target.attention)

    def share_out(self, logits: Tensor, attention: Tensor) -> Tensor:
        """Shares out cells among objects, and the background if there is one, by a softmax.

        Args:
            logits: (N, h, w).
            attention: (h, w).

        Returns:
            (N, h, w), which sum up to the attention at most.
        """
        logits = at_least_single(logits)
        if self.readout.has_background:
            logits = functional.pad(logits, (0, 0, 0, 0, 1, 0))
        shares = logits.softmax(dim=0)
        return (shares[1:] if self.readout.has_background else shares) * attention

    def place(self, probabilities: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
        """Places the small masks of a mask head among the cells of the level.

        Args:
            probabilities: (N, M, M) in [0, 1], each over its box.
            boxes: (N, 4) x1, y1, x2, y2 in pixels of the network's input.
            size: h and w.

        Returns:
            (N, h, w): means over the cells.
        """
        height, width = (_POINTS * side for side in size)
        fine = paste_soft(probabilities, boxes * (_POINTS / self.stride), (height, width))
        return functional.avg_pool2d(fine[:, None], _POINTS)[:, 0]

    def cells(self, masks: Tensor) -> Tensor:
        """Shares of the cells that masks cover: (N, H, W) of 0 and 1 to (N, h, w) in [0, 1]."""
        return functional.avg_pool2d(masks.float()[:, None], self.stride, ceil_mode=True)[:, 0]

    def loss(
        self,
        levels: Sequence[Sequence[Tensor]],
        samples: Sequence[Sequence[DetDataSample]],
    ) -> dict[str, Tensor]:
        """Loss of carrying the key frames' true masks to all frames of the clips, their own too.

        Args:
            levels: Of each of the T positions in the clips, the key frames' first, per level
                (B, C, H', W').
            samples: The same of the ground truth: B samples with ``masks`` and ``instances_ids``.
        """
        maps = [self.maps(one) for one in levels]
        key, key_samples = maps[0], samples[0]
        size = key_samples[0].metainfo['batch_input_shape']
        check_stride(key.attention, size, self.stride, self.level)
        masks = [self._true_cells(sample, key.motion.device) for sample in key_samples]
        # Those of all positions at once, as numbers of a GPU are waited for.
        every = [sample for position in samples for sample in position]
        matches = same_objects(list(key_samples) * len(samples), every)
        carried, targets = [], []
        for number, (target, target_samples) in enumerate(zip(maps, samples, strict=True)):
            offsets = self.offsets(key.motion, target.motion)
            for image, some in enumerate(masks):
                if len(some) == 0:
                    continue
                present, position = matches[number * len(masks) + image]
                frames = key.of(image), some, target.of(image)
                carried.append(self.carry_at(offsets[image], *frames))
                truth = torch.zeros_like(some)
                present, position = (to_device(one, some.device) for one in (present, position))
                truth[present] = self._true_cells(target_samples[image], some.device)[position]
                targets.append(truth)
        return self.loss_by_feat(carried, targets)

    def loss_by_feat(
        self, carried: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """``loss_prop``: 1 - soft IoU, averaged over all objects in all frames.

        Both sums of the soft IoU are smoothed by 1: an object that has left is to be carried to
        nowhere. Without any object it is 0, and connected to all weights.

        Args:
            carried: (N, h, w) in [0, 1], one for each pair of frames.
            targets: The same of the truth.
        """
        if not carried:
            return dict(loss_prop=0 * sum(weight.sum() for weight in self.parameters()))
        losses = [
            1 - soft_iou(one, truth, smoothing=1.0)
            for one, truth in zip(carried, targets, strict=True)
        ]
        return dict(loss_prop=self.loss_weight * torch.cat(losses).mean())

    def _true_cells(self, sample: DetDataSample, device: torch.device) -> Tensor:
        """Cells (N, h, w) of the true masks."""
        masks = torch.from_numpy(sample.gt_instances.masks.masks)
        return self.cells(to_device(masks, device))
