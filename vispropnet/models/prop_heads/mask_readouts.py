"""What a mask propagation head makes of features and masks: logits of the masks it carries.

Shapes: C channels of the features; N objects; K taps of the kernel; h x w cells. A readout gives
maps of a frame's ``appearance`` once, and logits for each pair of frames.
"""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from vispropnet.ops.deformable import (
    fold_kernel,
    folded_deform_conv,
    masked_deform_conv,
    sampling_places,
)

KERNEL_SIZE = 3
# The gated readout starts as the mask itself: logits from -6 outside of it to 6 inside.
_START_SCALE = 12.0


class PaperReadout(BaseModule):
    """Deformable convolution, sum with the target's features, 1x1 (MaskProp, section 3.2).

    All of it is linear, so it is computed folded, see
    :func:`~vispropnet.ops.deformable.folded_deform_conv`. What the target's features and biases add
    is the same for all objects and cancels in the softmax over them: it is left out.

    Args:
        in_channels: C.
        channels: Not used: the paper reduces nothing.
    """

    has_background = False

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.deform_weight = nn.Parameter(_identity_kernel(in_channels))
        self.logit = nn.Conv2d(in_channels, 1, 1, bias=False)

    def kernel_inputs(self, features: Tensor) -> Tensor:
        """Features that the deformable kernel reads: all of them."""
        return features

    def appearance(self, features: Tensor) -> Tensor:
        """Products of the features with the folded kernel: (B, C, h, w) to (B, K, h, w)."""
        kernel = fold_kernel(self.deform_weight, self.logit.weight.flatten())
        return functional.conv2d(features, kernel[:, :, None, None])

    def logits(self, source: Tensor, masks: Tensor, target: Tensor, offsets: Tensor) -> Tensor:
        """Mask logits in the target frame.

        Args:
            source: (K, h, w) appearance of the frame of the masks.
            masks: (N, h, w) in [0, 1].
            target: (K, h, w), not used.
            offsets: (2K, h, w) in cells.

        Returns:
            (N, h, w).
        """
        return folded_deform_conv(source, masks, sampling_places(offsets))


class GatedReadout(BaseModule):
    """As the paper's on fewer channels, with a convolution and ReLU before the last layer.

    Then the target's features do not cancel. The reduction's last channel starts as constant 1, so
    that under a mask it is the mask, and the layers after it start as passing that on: at the start
    a mask is carried unchanged.

    Args:
        in_channels: C.
        channels: Channels after the reduction, 2 or more.
    """

    has_background = True

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, channels, 1)
        self.deform_weight = nn.Parameter(_identity_kernel(channels))
        self.conv = nn.Conv2d(channels, channels, KERNEL_SIZE, padding=KERNEL_SIZE // 2)
        self.logit = nn.Conv2d(channels, 1, 1)
        self._start_as_copy()

    @torch.no_grad()
    def _start_as_copy(self) -> None:
        middle = KERNEL_SIZE // 2
        self.reduce.weight[-1], self.reduce.bias[-1] = 0, 1
        # The target's channel is 1 as well: what is left of the sum is the mask.
        self.conv.weight[-1], self.conv.bias[-1] = 0, -1
        self.conv.weight[-1, -1, middle, middle] = 1
        nn.init.normal_(self.logit.weight, std=0.01)
        self.logit.weight[0, -1] = _START_SCALE
        nn.init.constant_(self.logit.bias, -_START_SCALE / 2)

    def kernel_inputs(self, features: Tensor) -> Tensor:
        """Features that the deformable kernel reads: (B, C, h, w) to (B, channels, h, w)."""
        return self.reduce(features)

    def appearance(self, features: Tensor) -> Tensor:
        """Reduces the features: (B, C, h, w) to (B, channels, h, w)."""
        return self.kernel_inputs(features)

    def logits(self, source: Tensor, masks: Tensor, target: Tensor, offsets: Tensor) -> Tensor:
        """Mask logits in the target frame, against a background of 0.

        Args:
            source: (channels, h, w) appearance of the frame of the masks.
            masks: (N, h, w) in [0, 1].
            target: (channels, h, w) appearance of the target frame.
            offsets: (2K, h, w) in cells.

        Returns:
            (N, h, w).
        """
        places = sampling_places(offsets)
        carried = masked_deform_conv(source, masks, places, self.deform_weight)
        return self.logit(self.conv(carried + target).relu())[:, 0]


def _identity_kernel(channels: int) -> Tensor:
    kernel = torch.zeros(channels, channels, KERNEL_SIZE, KERNEL_SIZE)
    kernel[:, :, KERNEL_SIZE // 2, KERNEL_SIZE // 2] = torch.eye(channels)
    return kernel


READOUTS = dict(paper=PaperReadout, gated=GatedReadout)
