"""Models that hold a two-stage detector of mmdet: its stages, in training and at test."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor, nn

from vispropnet.models.base import VISDetector
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.models.frames import box_scale
from vispropnet.models.support import SupportedLevels, check_support, support_levels
from vispropnet.registry import MODELS, TASK_UTILS

Features = Sequence[Tensor]


class TwoStageVISDetector(VISDetector):
    """A two-stage detector of mmdet with a mask head, as stages that training and test share.

    Args:
        detector: Config of mmdet's ``MaskRCNN`` (any two-stage detector with a standard RoI head
            and a mask head).
        support: Config of which frames support a frame at test, see
            :class:`~vispropnet.models.support.SupportWindow`; in training the references do. Parts
            that look at other frames need it.
        data_preprocessor: Config of the preprocessing.
        init_cfg: Initialisation, as in mmengine.

    Raises:
        ValueError: if a part needs features of other frames and would get none, or masks would
            cover the whole frame (``detector.test_cfg.rcnn.mask_thr_binary`` of 0 or less).

    Attributes:
        uses_support: Whether a part needs features of other frames.
        support_places: Beginnings of the names of the parts that are given such features.
    """

    plain_weights = 'detector'
    support_places = ('detector.roi_head.',)

    def __init__(
        self,
        detector: dict,
        support: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.detector = MODELS.build(detector)
        rcnn = (self.detector.test_cfg or {}).get('rcnn') or {}
        threshold = rcnn.get('mask_thr_binary', 0.5)
        if threshold <= 0:
            # mmdet's masks would be the part around the box on a CPU and all of the frame on a GPU.
            raise ValueError(
                f'detector.test_cfg.rcnn: mask_thr_binary must be above 0, got {threshold}'
            )
        self.support = None if support is None else TASK_UTILS.build(support)
        self.check_support()

    def check_support(self) -> None:
        """Checks that parts get the support they need; models that add parts call this again."""
        given = self.support is not None
        self.uses_support = check_support(self, self.support_places, given)
        if given:
            self.support.levels = support_levels(self)

    def check_channels(self, name: str, channels: int) -> None:
        """Checks that a part takes as many channels as the features of the detector's neck have.

        Args:
            name: Of the setting, for the message.
            channels: What the part takes.

        Raises:
            ValueError: if they differ.
        """
        expected = getattr(self.detector.neck, 'out_channels', channels)
        if channels != expected:
            raise ValueError(
                f'{name}={channels}, but detector.neck gives features with out_channels={expected}'
            )

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Runs backbone and neck: (F, 3, H, W) to one (F, C, H', W') per level."""
        return self.detector.extract_feat(images)

    def encode_clips(self, images: Tensor, num_frames: int) -> list[Features]:
        """Features of all frames of clips from one pass.

        Args:
            images: (B * T, 3, H, W), clip by clip.
            num_frames: T.

        Returns:
            Of each of the T positions in the clips, per level (B, C, H', W').
        """
        # Position by position, so that the features of one position are contiguous.
        images = images.unflatten(0, (-1, num_frames)).transpose(0, 1).flatten(0, 1)
        return list(zip(*(level.chunk(num_frames) for level in self.encode(images)), strict=True))

    def propose_with_loss(
        self, features: Features, samples: Sequence[DetDataSample]
    ) -> tuple[dict[str, Tensor], list[InstanceData]]:
        """RPN losses and the proposals to train the heads on."""
        # The RPN's one-channel classifier takes every label but 0 for background.
        samples = [copy.copy(sample) for sample in samples]
        for sample in samples:
            sample.gt_instances = copy.copy(sample.gt_instances)
            sample.gt_instances.labels = torch.zeros_like(sample.gt_instances.labels)
        losses, proposals = self.detector.rpn_head.loss_and_predict(
            features, samples, proposal_cfg=self.detector.train_cfg.rpn_proposal
        )
        names = (name if 'rpn' in name else f'rpn_{name}' for name in losses)
        return dict(zip(names, losses.values(), strict=True)), proposals

    def propose(self, features: Features, metainfo: Mapping[str, Any]) -> InstanceData:
        """RPN proposals of one frame, in pixels of the network's input."""
        sample = DetDataSample(metainfo=metainfo)
        return self.detector.rpn_head.predict(features, [sample], rescale=False)[0]

    def sample_rois(
        self,
        features: Features,
        proposals: Sequence[InstanceData],
        samples: Sequence[DetDataSample],
    ) -> list[SamplingResult]:
        """Assigns proposals to ground truth and samples the RoIs that all heads are trained on."""
        roi_head = self.detector.roi_head
        instances, ignored, _ = unpack_gt_instances(samples)
        results = []
        for image, priors in enumerate(proposals):
            priors.priors = priors.pop('bboxes')
            assigned = roi_head.bbox_assigner.assign(priors, instances[image], ignored[image])
            own = [level[image][None] for level in features]
            sampled = roi_head.bbox_sampler.sample(assigned, priors, instances[image], feats=own)
            results.append(sampled)
        return results

    def detection_loss(
        self,
        features: Features,
        sampling_results: Sequence[SamplingResult],
        samples: Sequence[DetDataSample],
        support: Sequence[Features] = (),
    ) -> dict[str, Tensor]:
        """Losses of the box and mask heads on sampled RoIs.

        Args:
            features: Per level (B, C, H, W) of the key frames.
            sampling_results: Per image the sampled RoIs.
            samples: Ground truth of the key frames.
            support: The features of the clips' other frames; plain heads ignore them.
        """
        roi_head = self.detector.roi_head
        features = self.with_support(features, support, [sample.metainfo for sample in samples])
        boxes = roi_head.bbox_loss(features, sampling_results)
        instances = [sample.gt_instances for sample in samples]
        masks = roi_head.mask_loss(features, sampling_results, boxes['bbox_feats'], instances)
        losses = {**boxes['loss_bbox'], **masks['loss_mask']}
        # mmdet leaves it out without any RoI; ranks wait for the gradients of its weights.
        losses.setdefault('loss_cls', boxes['cls_score'].sum())
        return losses

    def detect(
        self,
        features: Features,
        proposals: InstanceData,
        metainfo: Mapping[str, Any],
        support: Sequence[Features] = (),
    ) -> InstanceData:
        """Boxes, labels and scores of one frame, boxes in pixels of the network's input.

        Args:
            features: Per level (1, C, H, W).
            proposals: Of the RPN.
            metainfo: The frame's.
            support: The features of other frames of the video; plain heads ignore them.
        """
        roi_head = self.detector.roi_head
        features = self.with_support(features, support, [metainfo])
        return roi_head.predict_bbox(
            features, [metainfo], [proposals], roi_head.test_cfg, rescale=False
        )[0]

    def segment(
        self,
        features: Features,
        detections: InstanceData,
        metainfo: Mapping[str, Any],
        support: Sequence[Features] = (),
    ) -> InstanceData:
        """Adds masks; boxes and masks of the result are in pixels of the original frame.

        Args:
            features: Per level (1, C, H, W).
            detections: Boxes in pixels of the network's input.
            metainfo: The frame's.
            support: As in :meth:`detect`.
        """
        roi_head = self.detector.roi_head
        features = self.with_support(features, support, [metainfo])
        size = metainfo['ori_shape'][:2]
        if not _is_plain(roi_head.mask_head):
            # mmdet rescales the boxes in place; the state holds the ones of before.
            detections.bboxes = detections.bboxes.clone()
            instances = roi_head.predict_mask(features, [metainfo], [detections], rescale=True)[0]
            instances.masks = FrameMasks.dense(instances.masks.bool())
            return instances
        instances = detections.new()
        instances.bboxes = detections.bboxes / box_scale(metainfo, detections.bboxes)
        if len(detections) == 0:
            instances.masks = FrameMasks(size)
            return instances
        logits = roi_head._mask_forward(features, bbox2roi([detections.bboxes]))['mask_preds']
        instances.masks = FrameMasks.of_logits(
            logits,
            instances.labels,
            instances.bboxes,
            size,
            roi_head.test_cfg.mask_thr_binary,
            roi_head.mask_head.class_agnostic,
        )
        return instances

    def float32_outputs(self) -> list[nn.Module]:
        """Those of the detector; see the base class."""
        return float32_outputs(self.detector)

    def category_counts(self) -> dict[str, int]:
        """Those of the RoI head; see the base class."""
        return category_counts(self.detector.roi_head, 'detector.roi_head')

    def with_support(
        self,
        features: Features,
        support: Sequence[Features],
        metainfos: Sequence[Mapping[str, Any]],
    ) -> Features:
        """Features of B frames as heads take them: with those of other frames if a part needs them.

        Args:
            features: Per level (B, C, H, W).
            support: The same of other frames, of the same sizes.
            metainfos: Of the B frames.
        """
        if not self.uses_support:
            return features
        return SupportedLevels(features, support, [one['img_shape'][:2] for one in metainfos])


def float32_outputs(detector: nn.Module) -> list[nn.Module]:
    """Modules of a two-stage detector of mmdet whose outputs are float32 under mixed precision.

    They are neck, RPN head, box and mask heads, as far as there are any.
    """
    parts = [getattr(detector, name, None) for name in ('neck', 'rpn_head')]
    parts += [getattr(detector.roi_head, name, None) for name in ('bbox_head', 'mask_head')]
    modules = []
    for part in parts:
        # A cascade holds a list of heads, which is never called itself.
        modules += part if isinstance(part, nn.ModuleList) else [part]
    return [one for one in modules if one is not None]


def category_counts(head: nn.Module, name: str) -> dict[str, int]:
    """Number of categories of a head and of the parts within it, by dotted name.

    Args:
        head: The head; parts that tell categories apart have ``num_classes``, and those that treat
            all alike ``class_agnostic``.
        name: Its dotted name.
    """
    return {
        f'{name}.{below}' if below else name: part.num_classes
        for below, part in head.named_modules()
        if isinstance(getattr(part, 'num_classes', None), int)
        and not getattr(part, 'class_agnostic', False)
    }


def _is_plain(mask_head: nn.Module) -> bool:
    """Checks that masks are made from logits and boxes in the way that is shortened here."""
    method = '_predict_by_feat_single'
    return getattr(type(mask_head), method, None) is getattr(FCNMaskHead, method)
