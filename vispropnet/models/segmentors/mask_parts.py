"""Parts of STCN: residual blocks, fusion of value features, the mask decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from vispropnet.registry import MODELS


class ResBlock(nn.Module):
    """Two 3x3 convolutions without normalisation, and a shortcut.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        return self.shortcut(inputs) + self.conv2(self.conv1(inputs.relu()).relu())


class ConvAttention(nn.Module):
    """Attention by channel, then by place (CBAM, Woo et al., ECCV 2018).

    Args:
        channels: Channels of the input.
        reduction: By how much the inner layer is narrower.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        inner = max(channels // reduction, 1)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1)
        )
        self.place = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) to the same, weighted."""
        pooled = (
            functional.adaptive_avg_pool2d(inputs, 1),
            functional.adaptive_max_pool2d(inputs, 1),
        )
        inputs = inputs * sum(map(self.channel, pooled)).sigmoid()
        planes = torch.cat([inputs.amax(1, keepdim=True), inputs.mean(1, keepdim=True)], dim=1)
        return inputs * self.place(planes).sigmoid()


@MODELS.register_module()
class ValueFusion(BaseModule):
    """Fuses features of an object's mask with those of the image.

    Args:
        in_channels: Of both together.
        out_channels: Channels of values.
        attention: Whether attention by channel and place comes between the two blocks.
    """

    def __init__(self, in_channels: int, out_channels: int, attention: bool = True) -> None:
        super().__init__()
        self.block1 = ResBlock(in_channels, out_channels)
        self.attention = ConvAttention(out_channels) if attention else None
        self.block2 = ResBlock(out_channels, out_channels)

    def forward(self, of_masks: Tensor, of_image: Tensor) -> Tensor:
        """(K, C1, h, w) and (K, C2, h, w) to values (K, out_channels, h, w)."""
        fused = self.block1(torch.cat([of_masks, of_image], dim=1))
        if self.attention is not None:
            fused = fused + self.attention(fused)
        return self.block2(fused)


@MODELS.register_module()
class MaskDecoder(BaseModule):
    """Decodes what was read from the memory into masks.

    Args:
        in_channels: Of the values and the thin image features together.
        skip_channels: Of the image features of strides 4 and 8.
        channels: Widths at strides 16 and 8.
    """

    def __init__(
        self, in_channels: int, skip_channels: Sequence[int], channels: Sequence[int] = (512, 256)
    ) -> None:
        super().__init__()
        wide, narrow = channels
        self.compress = ResBlock(in_channels, wide)
        self.skip8 = nn.Conv2d(skip_channels[1], wide, 3, padding=1)
        self.block8 = ResBlock(wide, narrow)
        self.skip4 = nn.Conv2d(skip_channels[0], narrow, 3, padding=1)
        self.block4 = ResBlock(narrow, narrow)
        self.predict = nn.Conv2d(narrow, 1, 3, padding=1)

    def forward(self, read: Tensor, levels: Sequence[Tensor], owner: Tensor) -> Tensor:
        """Computes mask logits.

        Args:
            read: (K, in_channels, h, w) at stride 16, of K objects.
            levels: (B, C, 4h, 4w) and (B, C, 2h, 2w) of the images.
            owner: (K,) int64, each object's image.

        Returns:
            (K, 16h, 16w) float32.
        """
        skip4, skip8 = self.skip4(levels[0])[owner], self.skip8(levels[1])[owner]
        features = self.block8(skip8 + _enlarged(self.compress(read), 2))
        features = self.block4(skip4 + _enlarged(features, 2))
        return _enlarged(self.predict(features.relu()).float(), 4)[:, 0]


def _enlarged(features: Tensor, factor: int) -> Tensor:
    return functional.interpolate(
        features, scale_factor=factor, mode='bilinear', align_corners=False
    )
