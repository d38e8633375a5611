"""Embeddings of RoIs and their matching logits (MaskTrack R-CNN, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from vispropnet.registry import MODELS


def matching_logits(embeddings: Tensor, references: Tensor) -> Tensor:
    """Logits of "this object is that one", with "a new object" as column 0.

    Args:
        embeddings: (N, C) of objects in the current frame.
        references: (M, C) of known objects.

    Returns:
        (N, 1 + M) float32: ``[0, f·r_1 ... f·r_M]``.
    """
    # In single precision: products of unnormalised embeddings exceed what half precision holds.
    with torch.autocast(embeddings.device.type, enabled=False):
        return functional.pad(embeddings.float() @ references.float().t(), (1, 0))


@MODELS.register_module()
class EmbeddingHead(BaseModule):
    """Fully connected layers from RoI features to embeddings, and the matching loss.

    Args:
        in_channels: Channels of the RoI features.
        roi_feat_size: Height and width of the RoI features.
        num_fcs: Number of layers, at least 1.
        fc_out_channels: Width of each layer and of the embedding.
        final_relu: Whether a ReLU follows the last layer too. The paper's head has none;
            checkpoints of the mmtracking and mmdet 3.x zoo were trained with one.
        loss_weight: Weight of the matching loss.
        normalize_at_test: Whether embeddings have length 1 when not training. Only for old
            checkpoints, whose code did so; what training learns then differs from what is used.
    """

    def __init__(
        self,
        in_channels: int = 256,
        roi_feat_size: int = 7,
        num_fcs: int = 2,
        fc_out_channels: int = 1024,
        final_relu: bool = False,
        loss_weight: float = 1.0,
        normalize_at_test: bool = False,
    ) -> None:
        # Larger initial weights make the unnormalised dot products, and so the loss, explode.
        super().__init__(init_cfg=dict(type='Normal', layer='Linear', std=0.01))
        widths = [in_channels * roi_feat_size**2] + [fc_out_channels] * num_fcs
        self.fcs = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip(widths, widths[1:], strict=False)
        )
        self.final_relu = final_relu
        self.loss_weight = loss_weight
        self.normalize_at_test = normalize_at_test

    def forward(self, roi_features: Tensor) -> Tensor:
        """Embeds RoI features (N, C, roi_feat_size, roi_feat_size): (N, fc_out_channels)."""
        embeddings = roi_features.flatten(1)
        for number, layer in enumerate(self.fcs, start=1):
            embeddings = layer(embeddings)
            if number < len(self.fcs) or self.final_relu:
                embeddings = embeddings.relu()
        if self.normalize_at_test and not self.training:
            embeddings = functional.normalize(embeddings, dim=1)
        return embeddings

    def match(self, embeddings: Tensor, references: Tensor) -> Tensor:
        """Matching logits (N, 1 + M) of (N, C) embeddings with (M, C) known ones; dot products."""
        return matching_logits(embeddings, references)

    def loss_by_feat(
        self,
        embeddings: Sequence[Tensor],
        references: Sequence[Tensor],
        identities: Sequence[Tensor],
        reference_identities: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Cross-entropy of the matching logits, averaged over each image's objects, then images.

        Args:
            embeddings: Per image (N, C) of its positive key RoIs.
            references: Per image (M, C) of its reference frame's objects.
            identities: Per image (N,) instance ids of the key RoIs.
            reference_identities: Per image (M,) instance ids in the reference frame.

        Returns:
            ``loss_match`` and ``match_accuracy`` (percent of the positive RoIs of the batch).
            Without any RoI the loss is 0 and still connected to the graph.
        """
        losses, hits, count = [], embeddings[0].new_zeros(()), 0
        for found, known, ids, known_ids in zip(
            embeddings, references, identities, reference_identities, strict=True
        ):
            # Both sides stay in the graph when either is empty.
            anchor = found.sum() * 0 + known.sum() * 0
            if len(found) == 0:
                losses.append(anchor)
                continue
            logits = matching_logits(found, known)
            targets = matching_targets(ids, known_ids)
            losses.append(functional.cross_entropy(logits, targets) + anchor)
            hits = hits + (logits.argmax(dim=1) == targets).sum()
            count += len(found)
        return dict(
            loss_match=self.loss_weight * torch.stack(losses).mean(),
            match_accuracy=100 * hits / max(count, 1),
        )


def matching_targets(identities: Tensor, reference_identities: Tensor) -> Tensor:
    """Column of the matching logits that is right for each object.

    Args:
        identities: (N,) instance ids.
        reference_identities: (M,) instance ids, each at most once.

    Returns:
        (N,) int64: 1 + position among the reference's ids, 0 where it is not there.
    """
    equal = identities[:, None] == reference_identities[None, :]
    return functional.pad(equal, (1, 0)).long().argmax(dim=1)
