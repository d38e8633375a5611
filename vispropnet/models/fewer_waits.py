"""Parts of mmdet that wait for a GPU at every turn, with the same results and fewer waits.

On a CPU, where nothing waits, they are mmdet's own. The arguments are those of mmdet's.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.models.task_modules.samplers import RandomSampler, SamplingResult
from mmdet.structures.bbox import cat_boxes
from mmengine.structures import InstanceData
from torch import Tensor

from vispropnet.ops.transfer import to_device
from vispropnet.registry import MODELS, TASK_UTILS


@TASK_UTILS.register_module()
class WaitlessMaxIoUAssigner(MaxIoUAssigner):
    """mmdet's ``MaxIoUAssigner``, without waits.

    Where mmdet picks boxes by masks, and asks for each object whether one is near enough, this
    computes all and selects.
    """

    def assign_wrt_overlaps(self, overlaps: Tensor, gt_labels: Tensor) -> AssignResult:
        """Assigns boxes to objects.

        Args:
            overlaps: (K, N) of K objects with N boxes.
            gt_labels: (K,) of the objects.

        Returns:
            Of each box: the number of its object from 1, 0 for background or -1 for neither; the
            largest overlap; the label of its object or -1.
        """
        on_cpu = overlaps.device.type == 'cpu'
        if on_cpu or overlaps.numel() == 0 or not self.gt_max_assign_all:
            return super().assign_wrt_overlaps(overlaps, gt_labels)
        best, nearest = overlaps.max(dim=0)
        low, high = (
            self.neg_iou_thr if isinstance(self.neg_iou_thr, tuple) else (0, self.neg_iou_thr)
        )
        found = torch.where((best >= low) & (best < high), 0, -1)
        found = torch.where(best >= self.pos_iou_thr, nearest + 1, found)
        if self.match_low_quality:
            # The boxes nearest to an object are its own; of two objects, the later one's.
            most = overlaps.amax(dim=1, keepdim=True)
            own = (overlaps == most) & (most >= self.min_pos_iou)
            numbers = torch.arange(1, len(overlaps) + 1, device=overlaps.device)
            last = (own * numbers[:, None]).amax(dim=0)
            found = torch.where(last > 0, last, found)
        labels = torch.where(found > 0, gt_labels[(found - 1).clamp(min=0)], -1)
        return AssignResult(len(overlaps), found, best, labels)


@TASK_UTILS.register_module()
class HostRandomSampler(RandomSampler):
    """mmdet's ``RandomSampler``, with one wait instead of up to eight.

    What was assigned is copied to the host, where boxes are counted and drawn.
    """

    def sample(
        self,
        assign_result: AssignResult,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        **kwargs: Any,
    ) -> SamplingResult:
        """Samples boxes of objects and of the background, on the device of the boxes.

        Args:
            assign_result: Of the boxes.
            pred_instances: ``priors``: the boxes (N, 4).
            gt_instances: ``bboxes`` and ``labels`` of the objects.
            kwargs: For mmdet's.
        """
        device = assign_result.gt_inds.device
        if device.type == 'cpu':
            return super().sample(assign_result, pred_instances, gt_instances, **kwargs)
        boxes, objects = pred_instances.priors, gt_instances.bboxes
        is_object = boxes.new_zeros(len(boxes), dtype=torch.uint8)
        if self.add_gt_as_proposals and len(objects) > 0:
            boxes = cat_boxes([objects, boxes])
            assign_result.add_gt_(gt_instances.labels)
            is_object = torch.cat([is_object.new_ones(len(objects)), is_object])
        kinds = copy.copy(assign_result)
        # The sign is all that sampling looks at, and a byte each.
        kinds.gt_inds = assign_result.gt_inds.sign().to(torch.int8).cpu()
        positive = self._sample_pos(kinds, int(self.num * self.pos_fraction)).unique()
        wanted = self.num - len(positive)
        if self.neg_pos_ub >= 0:
            wanted = min(wanted, int(self.neg_pos_ub * max(1, len(positive))))
        negative = self._sample_neg(kinds, wanted).unique()
        return SamplingResult(
            pos_inds=to_device(positive, device),
            neg_inds=to_device(negative, device),
            priors=boxes,
            gt_bboxes=objects,
            assign_result=assign_result,
            gt_flags=is_object,
        )


@MODELS.register_module()
class HostLevelRoIExtractor(SingleRoIExtractor):
    """mmdet's ``SingleRoIExtractor``, with one wait instead of one for each level.

    The levels of the RoIs are copied to the host, where RoIs are sorted by them.
    """

    def forward(
        self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Pools features of RoIs, each from its level: (R, C, height, width).

        Args:
            feats: Per level (B, C, H, W).
            rois: (R, 5) as image index, x1, y1, x2, y2 in pixels of the network's input.
            roi_scale_factor: Enlarges the RoIs, after their levels were chosen.
        """
        # mmdet's reads an extractor's own weights as if they were contiguous; they need not be.
        has_weights = next(self.parameters(), None) is not None
        if len(feats) == 1 or (rois.device.type == 'cpu' and not has_weights):
            return super().forward(feats, rois, roi_scale_factor)
        rois = rois.type_as(feats[0])
        levels = self.map_roi_levels(rois, len(feats)).to(torch.int8).cpu()
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        size = self.roi_layers[0].output_size
        pooled = feats[0].new_zeros(len(rois), self.out_channels, *size)
        for level, (layer, features) in enumerate(zip(self.roi_layers, feats, strict=False)):
            chosen = to_device((levels == level).nonzero().flatten(), rois.device)
            if len(chosen) > 0:
                pooled[chosen] = layer(features, rois[chosen])
            else:
                # Ranks wait for the gradients of every level.
                pooled = pooled + features.sum() * 0.0
        return pooled
