"""Second stage of mmdet's two-stage detectors, plain or a cascade, for models without a track head.

A cascade refines boxes in turn, and its masks are means over the turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads import CascadeRoIHead, HybridTaskCascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor, nn

Features = Sequence[Tensor]


def check_mask_heads(detector: nn.Module) -> None:
    """Checks that a detector gives a small mask for each box.

    Raises:
        ValueError: if it has no mask head, or is of another kind.
    """
    roi_head = getattr(detector, 'roi_head', None)
    if not getattr(roi_head, 'with_mask', False):
        raise ValueError(
            f'detector: {type(detector).__name__} has no mask head, expected a two-stage detector '
            'with detector.roi_head.mask_head, such as MaskRCNN'
        )
    kinds = StandardRoIHead, CascadeRoIHead
    others = HybridTaskCascadeRoIHead
    heads = _mask_heads(roi_head)
    if not isinstance(roi_head, kinds) or isinstance(roi_head, others) or not heads:
        raise ValueError(
            f'detector.roi_head: {type(roi_head).__name__} is not supported, expected a '
            'StandardRoIHead or CascadeRoIHead'
        )
    for head in heads:
        # Others paste in ways of their own.
        method = '_predict_by_feat_single'
        if getattr(type(head), method, None) is not getattr(FCNMaskHead, method):
            raise ValueError(
                f'detector.roi_head.mask_head: {type(head).__name__} is not supported, expected a '
                'FCNMaskHead'
            )


def cascade_losses(
    roi_head: CascadeRoIHead,
    features: Features,
    proposals: Sequence[InstanceData],
    samples: Sequence[DetDataSample],
) -> dict[str, Tensor]:
    """Losses of all turns of a cascade; every weight has a part in them.

    Args:
        roi_head: The cascade.
        features: Per level (B, C, H, W).
        proposals: B, of the RPN.
        samples: B, ground truth.
    """
    losses = roi_head.loss(features, proposals, samples)
    for stage in range(roi_head.num_stages):
        # mmdet leaves it out without any RoI; ranks wait for the gradients of its weights.
        parts = roi_head.bbox_head[stage], roi_head.mask_head[stage]
        weights = (weight for part in parts for weight in part.parameters())
        losses.setdefault(f's{stage}.loss_cls', 0 * sum(weight.sum() for weight in weights))
    return losses


def mask_probabilities(
    roi_head: nn.Module, features: Features, boxes: Tensor, labels: Tensor
) -> Tensor:
    """Masks of one frame's boxes, before they are pasted.

    Args:
        roi_head: With mask heads that :func:`check_mask_heads` let pass.
        features: Per level (1, C, H, W).
        boxes: (N, 4) in pixels of the network's input.
        labels: (N,) whose channels are taken.

    Returns:
        (N, M, M) float32 in [0, 1], each over its box.
    """
    heads = _mask_heads(roi_head)
    if len(boxes) == 0:
        return boxes.new_zeros(0, 1, 1, dtype=torch.float32)
    rois, total = bbox2roi([boxes]), 0
    for stage, head in enumerate(heads):
        turn = (stage,) if isinstance(roi_head, CascadeRoIHead) else ()
        logits = roi_head._mask_forward(*turn, features, rois)['mask_preds'].float()
        channels = torch.zeros_like(labels) if head.class_agnostic else labels
        rows = torch.arange(len(labels), device=labels.device)
        total = total + logits[rows, channels].sigmoid()
    return total / len(heads)


def _mask_heads(roi_head: nn.Module) -> list[nn.Module]:
    head = roi_head.mask_head
    return list(head) if isinstance(head, nn.ModuleList) else [head]
