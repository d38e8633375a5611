"""Convolutional encoders of the package timm, cut off at stride 16."""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from vispropnet.registry import MODELS

# Strides of the levels.
STRIDES = (4, 8, 16)


@MODELS.register_module()
class TimmEncoder(BaseModule):
    """Encoder by its name in timm.

    Args:
        name: Such as ``'resnet50'`` or ``'tf_efficientnetv2_b1'``.
        pretrained: Whether training starts from timm's weights, which it downloads once.
        extra_channels: Input channels besides red, green and blue, such as masks. Zeros there give
            what the encoder of three channels gives; their weights start orthogonal.
        norm_eval: Whether batch normalisation keeps its running statistics in training, as with
            pretrained weights.

    Attributes:
        channels: Of the three levels.

    Raises:
        ValueError: if timm has no such encoder, or it has no levels of strides 4, 8 and 16.
    """

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        extra_channels: int = 0,
        norm_eval: bool = True,
    ) -> None:
        super().__init__()
        import timm  # takes seconds, and only this class needs it

        self.name, self.pretrained, self.norm_eval = name, pretrained, norm_eval
        if not timm.is_model(name):
            raise ValueError(f'timm {timm.__version__} has no encoder {name!r}')
        known = timm.create_model(name, features_only=True).feature_info.reduction()
        if not set(STRIDES) <= set(known):
            raise ValueError(f'encoder {name!r} has levels of strides {known}, needed are 4, 8, 16')
        self._levels = [known.index(stride) for stride in STRIDES]
        self.net = timm.create_model(name, features_only=True, out_indices=self._levels)
        self.channels = tuple(self.net.feature_info.channels())
        if extra_channels:
            _widen(self._first_conv(), extra_channels)

    def _first_conv(self) -> nn.Conv2d:
        return self.net.get_submodule(self.net.pretrained_cfg['first_conv'])

    def init_weights(self) -> None:
        """Loads timm's weights, where training starts from them; extra channels stay."""
        if not self.pretrained:
            return
        import timm

        source = timm.create_model(
            self.name, pretrained=True, features_only=True, out_indices=self._levels
        )
        weights, first = source.state_dict(), self.net.pretrained_cfg['first_conv'] + '.weight'
        extra = self._first_conv().weight.data[:, weights[first].shape[1] :]
        weights[first] = torch.cat([weights[first].to(extra), extra], dim=1)
        self.net.load_state_dict(weights)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Computes the levels.

        Args:
            images: (B, 3 + extra channels, H, W), sides multiples of 16.

        Returns:
            Three levels, (B, channels, H / stride, W / stride).
        """
        return tuple(self.net(images))

    def train(self, mode: bool = True) -> TimmEncoder:
        """Switches training on or off; layers whose statistics are kept stay in evaluation."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def _widen(conv: nn.Conv2d, channels: int) -> None:
    """Adds input channels, in place."""
    extra = torch.empty(conv.out_channels, channels, *conv.kernel_size)
    nn.init.orthogonal_(extra)
    conv.weight = nn.Parameter(torch.cat([conv.weight.data, extra], dim=1))
    conv.in_channels += channels


@MODELS.register_module()
class FeatureExpansion(BaseModule):
    """Widens the last level of a narrow encoder (EamStcn): two inverted bottlenecks.

    Args:
        in_channels: Channels of the level.
        out_channels: Channels afterwards.
        ratio: Width inside a bottleneck, in terms of what goes in.
    """

    def __init__(self, in_channels: int, out_channels: int, ratio: int = 4) -> None:
        super().__init__()
        inner, wide = in_channels * ratio, out_channels * ratio
        # A full convolution where the width changes, one by channel where it does not.
        self.fused = nn.Sequential(
            nn.Conv2d(in_channels, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.SiLU(),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.expand = nn.Sequential(
            nn.Conv2d(out_channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.SiLU()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.SiLU(),
        )
        self.squeeze = nn.Sequential(nn.Conv2d(wide, wide // 16, 1), nn.SiLU())
        self.excite = nn.Conv2d(wide // 16, wide, 1)
        self.project = nn.Sequential(
            nn.Conv2d(wide, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
        )

    def forward(self, level: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        level = self.fused(level)
        inner = self.depthwise(self.expand(level))
        gate = self.excite(self.squeeze(functional.adaptive_avg_pool2d(inner, 1))).sigmoid()
        return level + self.project(inner * gate)
