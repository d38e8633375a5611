"""The track head: RoI features to embeddings, for training clips and for single frames."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.model import BaseModule
from torch import Tensor

from vispropnet.registry import MODELS


@MODELS.register_module()
class TrackHead(BaseModule):
    """Identifies objects by the features inside their boxes (MaskTrack R-CNN, section 4.2).

    Args:
        roi_extractor: Config of mmdet's RoI extractor.
        embed_head: Config of the head that makes embeddings of RoI features, e.g.
            :class:`~vispropnet.models.track_heads.embedding_head.EmbeddingHead`.
    """

    def __init__(self, roi_extractor: dict, embed_head: dict) -> None:
        super().__init__()
        self.roi_extractor = MODELS.build(roi_extractor)
        self.embed_head = MODELS.build(embed_head)

    def embed(self, features: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Tensor]:
        """Embeds the objects in given boxes, per image (N, C').

        Args:
            features: Per level (B, C, H, W).
            boxes: Per image (N, 4) x1, y1, x2, y2 in pixels of the network's input.
        """
        roi_features = self.roi_extractor(
            features[: self.roi_extractor.num_inputs], bbox2roi(list(boxes))
        )
        return list(self.embed_head(roi_features).split([len(some) for some in boxes]))

    def match(self, embeddings: Tensor, references: Tensor) -> Tensor:
        """Matching logits (N, 1 + M) of (N, C) embeddings with (M, C) known ones, by the head."""
        return self.embed_head.match(embeddings, references)

    def loss(
        self,
        key_features: Sequence[Tensor],
        ref_features: Sequence[Tensor],
        sampling_results: Sequence[SamplingResult],
        key_samples: Sequence[DetDataSample],
        ref_samples: Sequence[DetDataSample],
    ) -> dict[str, Tensor]:
        """Matching loss of the sampled positive RoIs against the reference frame's objects.

        Args:
            key_features: Per level (B, C, H, W) of the key frames.
            ref_features: The same of the reference frames.
            sampling_results: Per image the RoIs that the box head was trained on.
            key_samples: Ground truth with ``instances_ids``.
            ref_samples: The same of the reference frames.
        """
        identities = [
            sample.gt_instances.instances_ids[result.pos_assigned_gt_inds]
            for sample, result in zip(key_samples, sampling_results, strict=True)
        ]
        return self.embed_head.loss_by_feat(
            self.embed(key_features, [result.pos_priors for result in sampling_results]),
            self.embed(ref_features, [sample.gt_instances.bboxes for sample in ref_samples]),
            identities,
            [sample.gt_instances.instances_ids for sample in ref_samples],
        )
