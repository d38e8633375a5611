"""The propagation head (ObjProp, Chakravarthy et al. 2021, section 3).

Shapes: N objects; C channels; h x w the features at stride 8; H x W the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from mmdet.structures import DetDataSample
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from vispropnet.errors import UserError
from vispropnet.models.looks import Look
from vispropnet.models.prop_heads.boxes import box_maps
from vispropnet.models.prop_heads.clips import check_stride, same_objects
from vispropnet.ops.affinity import affinity as affinity_matrix
from vispropnet.ops.affinity import at_least_single, carry, gaussian_factors
from vispropnet.ops.transfer import to_device
from vispropnet.registry import MODELS


@MODELS.register_module()
class PropagationHead(BaseModule):
    """Carries objects from a reference frame to the current one, and segments them there.

    Inter-frame attention carries the box of an object, a small network segments it.

    Args:
        in_channels: Channels of each feature level.
        num_levels: Number of levels, finest first, that the features are made of.
        level: Position of the level whose size the features have.
        stride: Stride of that level.
        channels: Channels of the features.
        num_mask_convs: Convolutions of the mask branch.
        num_classes: Categories: channels of the mask logits.
        affinity: Config of the affinity, see :mod:`vispropnet.models.prop_heads.affinities`;
            ``channels`` (and ``num_classes``) are the head's unless they are given.
        norm_cfg: Normalisation of the feature branch.
        mask_norm_cfg: Normalisation of the mask branch; the paper has none.
        class_agnostic: One mask channel for all categories.
        train_sigma: Scale in cells of the Gaussian of the distance in training; None for none.
        test_sigma: The same at test.
        renormalize: Makes the affinity sum up to 1 again under the Gaussian. Without, positions
            whose affinity lies far away get neither fore- nor background, and so an attention of
            one half, which training without a Gaussian never shows.
        resize_attention: Makes attention at the input's resolution and brings it back to stride 8,
            as the original code does, instead of at stride 8.
        budget_mib: Memory in MiB that one block of the affinity may take.
        attention_loss_weight: Weight of ``loss_propattn``.
        mask_loss_weight: Weight of ``loss_propmask``.

    Raises:
        ValueError: if the affinity's channels are not the head's, or a scale is not positive.
    """

    def __init__(
        self,
        in_channels: int = 256,
        num_levels: int = 4,
        level: int = 1,
        stride: int = 8,
        channels: int = 256,
        num_mask_convs: int = 4,
        num_classes: int = 40,
        affinity: dict | None = None,
        norm_cfg: dict | None = None,
        mask_norm_cfg: dict | None = None,
        class_agnostic: bool = False,
        train_sigma: float | None = None,
        test_sigma: float | None = 8.0,
        renormalize: bool = True,
        resize_attention: bool = False,
        budget_mib: float = 256,
        attention_loss_weight: float = 1.0,
        mask_loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        for name, sigma in (('train_sigma', train_sigma), ('test_sigma', test_sigma)):
            if sigma is not None and (not isinstance(sigma, (int, float)) or sigma <= 0):
                raise ValueError(f'prop_head: {name} must be positive or None, got {sigma!r}')
        for name, value in (
            ('class_agnostic', class_agnostic),
            ('renormalize', renormalize),
            ('resize_attention', resize_attention),
        ):
            if value not in (True, False):
                raise ValueError(f'prop_head: {name} must be True or False, got {value!r}')
        self.in_channels = in_channels
        self.num_levels, self.level, self.stride = num_levels, level, stride
        self.num_classes, self.class_agnostic = num_classes, class_agnostic
        self.train_sigma, self.test_sigma = train_sigma, test_sigma
        self.renormalize, self.resize_attention = renormalize, resize_attention
        self.attention_loss_weight, self.mask_loss_weight = attention_loss_weight, mask_loss_weight
        self.budget = int(budget_mib * 2**20)
        norm_cfg = norm_cfg or dict(type='BN')
        self.convs = nn.Sequential(
            nn.Conv2d(num_levels * in_channels, channels, 1),
            build_norm_layer(norm_cfg, channels)[1],
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            build_norm_layer(norm_cfg, channels)[1],
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1),
        )
        self.mask_convs = nn.ModuleList(
            ConvModule(channels, channels, 3, padding=1, norm_cfg=mask_norm_cfg)
            for _ in range(num_mask_convs)
        )
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.conv_logits = nn.Conv2d(channels, 1 if class_agnostic else num_classes, 1)
        affinity = affinity or dict(type='PlainAffinity')
        self.affinity = _build_affinity(affinity, channels, num_classes)

    def init_weights(self) -> None:
        """Initialises as mmdet's mask head does: Kaiming for the last layers."""
        super().init_weights()
        for layer in (self.upsample, self.conv_logits):
            nn.init.kaiming_normal_(layer.weight, mode='fan_out', nonlinearity='relu')
            nn.init.zeros_(layer.bias)

    def features(self, levels: Sequence[Tensor]) -> Tensor:
        """Features that frames are compared by.

        Args:
            levels: Per level (B, C', H', W'), finest first; more than are used do no harm.

        Returns:
            (B, C, h, w).
        """
        size = levels[self.level].shape[-2:]
        resized = [_resize(level, size) for level in levels[: self.num_levels]]
        return self.convs(torch.cat(resized, dim=1))

    def attention(
        self,
        reference: Tensor,
        current: Tensor,
        boxes: Tensor,
        labels: Tensor,
        sigma: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attention in the current frame to objects of the reference frame.

        Args:
            reference: (C, h', w') features.
            current: (C, h, w) features.
            boxes: (N, 4) x1, y1, x2, y2 in the reference frame, in pixels of the network's input.
            labels: (N,).
            sigma: Scale in cells of the Gaussian of the distance; None for none.

        Returns:
            (N, h, w) foreground and (N, h, w) background that arrive at each position: logits of
            the attention, which is the softmax of the two.
        """
        sizes = reference.shape[-2:], current.shape[-2:]
        maps = box_maps(boxes, sizes[0], self.stride).flatten(1)[None]
        # Autocast would make half precision of what the affinity needs single precision for.
        with torch.autocast(current.device.type, enabled=False):
            reference, current = at_least_single(reference), at_least_single(current)
            gaussian = None if sigma is None else gaussian_factors(*sizes, sigma, current)
            reference = reference.flatten(1)[None]
            current = self.affinity(current.flatten(1), labels)
            if self.affinity.per_object:
                reference, maps = reference.expand(len(labels), -1, -1), maps.transpose(0, 1)
            foreground, total = carry(reference, current, maps, gaussian, self.budget)
        foreground = foreground.reshape(len(boxes), *sizes[1])
        total = total.reshape(-1, *sizes[1])
        if self.renormalize and sigma is not None:
            foreground, total = foreground / total.clamp(min=1e-12), torch.ones_like(total)
        return foreground, total - foreground

    def affinity_columns(
        self,
        reference: Tensor,
        current: Tensor,
        positions: Tensor,
        labels: Tensor,
        sigma: float | None = None,
    ) -> Tensor:
        """Share that some current positions take from each reference position, for analysis.

        Args:
            reference: (C, h', w') features.
            current: (C, h, w) features.
            positions: (K,) int64 in the current frame, counted row by row.
            labels: (N,) of objects, which the affinity may depend on.
            sigma: As in :meth:`attention`.

        Returns:
            (N or 1, h', w', K), N where the affinity differs by category. Without a Gaussian, and
            with one if the head renormalises, it sums up to 1 over the reference positions.
        """
        sizes = reference.shape[-2:], current.shape[-2:]
        with torch.autocast(current.device.type, enabled=False):
            reference, current = at_least_single(reference), at_least_single(current)
            gaussian = None if sigma is None else gaussian_factors(*sizes, sigma, current)
            # Positions are chosen before anything is weighed: nothing of size P x Q is made.
            chosen = self.affinity(current.flatten(1)[:, positions], labels)
            known = reference.flatten(1).expand(len(chosen), -1, -1)
            columns = affinity_matrix(known, chosen, gaussian, positions)
        if self.renormalize and sigma is not None:
            columns = columns / columns.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return columns.reshape(len(chosen), *sizes[0], len(positions))

    def looks(
        self, current: Sequence[Tensor], reference: Sequence[Tensor], label: int | None
    ) -> list[Look]:
        """Affinity for analysis: the softmax alone and, if there is one, with the Gaussian of test.

        Args:
            current: Per level (1, C', H', W').
            reference: The same of the other frame.
            label: Category of the places that look; affinities by category need it.

        Raises:
            UserError: if the affinity differs by category and the label is none.
        """
        if self.affinity.per_object and not (label is not None and 0 <= label < self.num_classes):
            raise UserError(
                'the affinity of the propagation head differs by category: name the category of '
                f'the chosen place, a label from 0 to {self.num_classes - 1}, found {label}.'
            )
        known, now = (self.features(levels)[0] for levels in (reference, current))
        labels = torch.tensor([label or 0], device=now.device)

        def look(title: str, sigma: float | None) -> Look:
            return Look(
                title,
                now.shape[-2:],
                self.stride,
                lambda some: self.affinity_columns(known, now, some, labels, sigma)[0],
            )

        title = 'affinity of the propagation head'
        looks = [look(title, None)]
        if self.test_sigma is not None:
            title += f', with the distance as at test (sigma {self.test_sigma:g} cells)'
            looks.append(look(title, self.test_sigma))
        return looks

    def attend(self, foreground: Tensor, background: Tensor) -> Tensor:
        """Softmax of what arrives: (N, h, w) each to (N, h, w) attention in [0, 1]."""
        logits = foreground - background
        if not self.resize_attention:
            return logits.sigmoid()
        enlarged = _enlarge(logits, self.stride).sigmoid()
        return _resize(enlarged[:, None], logits.shape[-2:])[:, 0]

    def segment(self, current: Tensor, attention: Tensor, labels: Tensor) -> Tensor:
        """Mask logits of attended objects.

        Args:
            current: (N or 1, C, h, w) features of the current frame.
            attention: (N, h, w).
            labels: (N,) whose channel is taken.

        Returns:
            (N, stride * h, stride * w).
        """
        attended = current * attention[:, None].to(current.dtype)
        # Channels last: on a CPU the last layers take half the time.
        attended = attended.contiguous(memory_format=torch.channels_last)
        for conv in self.mask_convs:
            attended = conv(attended)
        logits = self._logits(attended, torch.zeros_like(labels) if self.class_agnostic else labels)
        return _enlarge(logits, self.stride // 2)

    def loss(
        self,
        key_levels: Sequence[Tensor],
        ref_levels: Sequence[Tensor],
        key_samples: Sequence[DetDataSample],
        ref_samples: Sequence[DetDataSample],
    ) -> dict[str, Tensor]:
        """Losses of carrying the reference frames' objects to the key frames.

        Args:
            key_levels: Per level (B, C', H', W') of the key frames.
            ref_levels: The same of the reference frames.
            key_samples: Ground truth with ``bboxes``, ``labels``, ``masks``, ``instances_ids``.
            ref_samples: The same of the reference frames.
        """
        # Both in one pass: so normalisation sees the same statistics for either.
        both = [torch.cat(pair) for pair in zip(key_levels, ref_levels, strict=True)]
        key_features, ref_features = self.features(both).chunk(2)
        height, width = key_samples[0].metainfo['batch_input_shape']
        check_stride(key_features, (height, width), self.stride, self.level)
        scores, box_targets, mask_targets = [], [], []
        attention, images, labels = [], [], []
        matches = same_objects(ref_samples, key_samples)
        for image, (key, ref, (present, position)) in enumerate(
            zip(key_samples, ref_samples, matches, strict=True)
        ):
            known, found = ref.gt_instances, key.gt_instances
            masks = torch.from_numpy(found.masks[position.numpy()].masks)
            present, position, masks = (
                to_device(one, key_features.device) for one in (present, position, masks)
            )
            frames = ref_features[image], key_features[image]
            foreground, background = self.attention(
                *frames, known.bboxes, known.labels, self.train_sigma
            )
            targets = foreground.new_zeros(len(known), height, width)
            boxes = box_maps(found.bboxes[position], (height, width), 1)
            targets[present] = boxes.to(targets.dtype)
            score = _enlarge(foreground - background, self.stride)
            scores.append(score[:, :height, :width])
            box_targets.append(targets)
            mask_targets.append(masks.float())
            attention.append(self.attend(foreground, background)[present])
            images.append(torch.full_like(present, image))
            labels.append(known.labels[present])
        # All images at once, so that normalisation in the mask branch sees the whole batch.
        masks = self.segment(
            key_features[torch.cat(images)], torch.cat(attention), torch.cat(labels)
        )
        logits = masks[:, :height, :width].split([len(one) for one in images])
        return self.loss_by_feat(scores, logits, box_targets, mask_targets)

    def loss_by_feat(
        self,
        attention_scores: Sequence[Tensor],
        mask_logits: Sequence[Tensor],
        box_targets: Sequence[Tensor],
        mask_targets: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Losses, averaged over pixels, then each image's objects, then images.

        Args:
            attention_scores: Per image (N, H, W) foreground minus background.
            mask_logits: Per image (M, H, W) of the objects that are in both frames.
            box_targets: Per image (N, H, W): 1 inside the object's box, all 0 where it is absent.
            mask_targets: Per image (M, H, W): 1 on the object.

        Returns:
            ``loss_propattn`` (cross-entropy of background and foreground), ``loss_propmask`` (0 and
            still connected to the graph where no object is in both frames), and
            ``propattn_accuracy`` (percent of the pixels of all maps).
        """
        hits = sum(
            ((score > 0) == (target > 0.5)).sum()
            for score, target in zip(attention_scores, box_targets, strict=True)
        )
        count = sum(target.numel() for target in box_targets)
        return dict(
            loss_propattn=self.attention_loss_weight * _mean_loss(attention_scores, box_targets),
            loss_propmask=self.mask_loss_weight * _mean_loss(mask_logits, mask_targets),
            propattn_accuracy=100 * hits / max(count, 1),
        )

    def _logits(self, attended: Tensor, labels: Tensor) -> Tensor:
        """Last layers of the mask branch, (N, C, h, w) to (N, 2h, 2w) of one channel each.

        The transposed convolution does not overlap, so it is a matrix product for each of the four
        pixels of a cell; and only the wanted channel of each object is computed.
        """
        count, channels, height, width = attended.shape
        weight = self.upsample.weight.permute(2, 3, 1, 0).reshape(4 * channels, channels, 1, 1)
        pixels = functional.conv2d(attended, weight, self.upsample.bias.repeat(4)).relu_()
        pixels = pixels.permute(0, 2, 3, 1).reshape(count, height * width * 4, channels)
        weight, bias = self.conv_logits.weight[labels, :, 0, 0], self.conv_logits.bias[labels]
        logits = torch.bmm(pixels, weight[:, :, None].to(pixels.dtype))
        logits = logits.view(count, height, width, 2, 2).permute(0, 1, 3, 2, 4)
        return logits.reshape(count, 2 * height, 2 * width) + bias[:, None, None]


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes (N, C, h, w) maps; those of the size stay as they are."""
    if maps.shape[-2:] == size:
        return maps
    return functional.interpolate(maps, size=size, mode='bilinear', align_corners=False)


def _enlarge(maps: Tensor, factor: int) -> Tensor:
    """Enlarges (N, h, w) maps to (N, factor * h, factor * w)."""
    return functional.interpolate(
        maps[:, None], scale_factor=factor, mode='bilinear', align_corners=False
    )[:, 0]


def _build_affinity(config: dict, channels: int, num_classes: int) -> nn.Module:
    """Builds an affinity, by default with the channels and categories of the head."""
    if 'CategoryAffinity' in str(config.get('type')):
        config = {'num_classes': num_classes, **config}
    # Its draws are its own: all other weights start as they do with any other affinity.
    with torch.random.fork_rng(devices=[]):
        affinity = MODELS.build({'channels': channels, **config})
    own_classes = getattr(affinity, 'num_classes', num_classes)
    if own_classes != num_classes:
        raise ValueError(
            f'prop_head.affinity: num_classes={own_classes}, but the head has '
            f'num_classes={num_classes}; leave it out to take that of the head'
        )
    if affinity.channels != channels:
        raise ValueError(
            f'prop_head.affinity: channels={affinity.channels}, but the features of the head have '
            f'channels={channels}; leave it out to take those of the head'
        )
    return affinity


def _mean_loss(logits: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Binary cross-entropy, averaged over each image's objects and pixels, then over images."""
    losses = [
        functional.binary_cross_entropy_with_logits(one.float(), target.float())
        if len(one)
        else one.float().sum()
        for one, target in zip(logits, targets, strict=True)
    ]
    return torch.stack(losses).mean()
