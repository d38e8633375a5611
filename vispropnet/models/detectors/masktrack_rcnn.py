"""MaskTrack R-CNN (Yang, Fan and Xu, "Video Instance Segmentation", ICCV 2019)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor, nn

from vispropnet.models.base import Clips, VISDetector, frames_of_clips, mean_of_losses
from vispropnet.models.detectors.two_stage import category_counts, float32_outputs
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.models.frames import Answers, Frame, FrameSize
from vispropnet.models.necks import NeckMemory
from vispropnet.models.support import (
    SupportedLevels,
    SupportMemory,
    check_support,
    parts_with_support,
)
from vispropnet.models.track_heads import matching_logits
from vispropnet.models.trackers import TrackMemory
from vispropnet.registry import MODELS, TASK_UTILS

Features = Sequence[Tensor]


@dataclass(frozen=True)
class MaskTrackRCNNState:
    """What a MaskTrack R-CNN remembers of a video; never changed, each frame makes a new one.

    Args:
        tracks: What association remembers.
        frame_size: Height and width of the original frames; None before the first.
        neck: What the attention neck remembers; None without one.
        support: What supports later frames; None if no part needs support.
    """

    tracks: TrackMemory
    frame_size: FrameSize | None = None
    neck: NeckMemory | None = None
    support: SupportMemory | None = None


@MODELS.register_module()
class MaskTrackRCNN(VISDetector):
    """Mask R-CNN with a head that tells objects apart.

    The stages (encode, attend, propose, detect, associate, segment) are methods that training and
    inference share.

    Args:
        detector: Config of mmdet's ``MaskRCNN`` (any two-stage detector with a standard RoI head
            and a mask head).
        track_head: Config of the track head.
        tracker: Config of the association.
        attn_neck: Config of an attention neck between the features and the RPN; None for none.
        support: Config of which frames support a frame at test, see
            :class:`~vispropnet.models.support.SupportWindow`; in training the references do. Parts
            below ``detector.roi_head`` that look at other frames need it.
        data_preprocessor: Config of the preprocessing.
        init_cfg: Initialisation, as in mmengine.

    Raises:
        ValueError: if the attention neck takes other channels than the features have, or a part
            needs features of other frames and would get none.
    """

    state_type = MaskTrackRCNNState
    plain_weights = 'detector'

    def __init__(
        self,
        detector: dict,
        track_head: dict,
        tracker: dict,
        attn_neck: dict | None = None,
        support: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.detector = MODELS.build(detector)
        self.track_head = MODELS.build(track_head)
        self.tracker = TASK_UTILS.build(tracker)
        # Its draws are its own: all other weights start as they do without it.
        with torch.random.fork_rng(devices=[]):
            self.attn_neck = None if attn_neck is None else MODELS.build(attn_neck)
        if self.attn_neck is not None:
            self.check_channels('attn_neck: channels', self.attn_neck.channels)
        self.support = None if support is None else TASK_UTILS.build(support)
        check_support(self, ('detector.roi_head.',), self.support is not None)
        self.uses_support = bool(parts_with_support(self))

    def check_channels(self, name: str, channels: int) -> None:
        """Checks that a part takes the features that the detector makes.

        Args:
            name: Of the setting, for the message.
            channels: What the part takes.

        Raises:
            ValueError: if the detector's neck gives another number of channels.
        """
        expected = getattr(self.detector.neck, 'out_channels', channels)
        if channels != expected:
            raise ValueError(
                f'{name}={channels}, but detector.neck gives features with out_channels={expected}'
            )

    def loss(self, inputs: Tensor, clips: Clips) -> dict[str, Tensor]:
        """Losses of the RPN, the box, mask and track heads; see the base class."""
        samples = frames_of_clips(clips)
        return self.loss_of_features(self.encode_clips(inputs, len(samples)), samples)

    def loss_of_features(
        self, features: Sequence[Features], samples: Sequence[Sequence[DetDataSample]]
    ) -> dict[str, Tensor]:
        """Losses of all heads on the features of clips.

        The track head is trained on the key frames with each of their references; its losses are
        means over the references. An attention neck attends to the first one.

        Args:
            features: Of each of the T positions in the clips, per level (B, C, H, W).
            samples: Ground truth: of each position B samples.

        Returns:
            As :meth:`loss`.
        """
        (key_features, *ref_features), (key_samples, *ref_samples) = features, samples
        attended = self.attend(key_features, ref_features[0])
        losses, proposals = self.propose_with_loss(attended, key_samples)
        sampling_results = self.sample_rois(key_features, proposals, key_samples)
        losses.update(
            self.detection_loss(key_features, sampling_results, key_samples, ref_features)
        )
        losses.update(
            mean_of_losses(
                [
                    self.track_head.loss(key_features, some, sampling_results, key_samples, truth)
                    for some, truth in zip(ref_features, ref_samples, strict=True)
                ]
            )
        )
        return losses

    def init_state(self) -> MaskTrackRCNNState:
        """Makes the state of a video before its first frame."""
        return self.state_type(
            tracks=self.tracker.init_memory(next(self.parameters()).device),
            neck=None if self.attn_neck is None else self.attn_neck.init_memory(),
            support=self.support.init_memory() if self.uses_support else None,
        )

    @torch.no_grad()
    def step(self, frame: Frame, state: MaskTrackRCNNState) -> tuple[Answers, MaskTrackRCNNState]:
        """Segments and associates the next frame of a video; see the base class."""
        self.check_state(state)
        size = frame.size_after(state.frame_size)
        features, reference, support = frame.features, frame.features, ()
        neck, supporting = state.neck, state.support
        if self.attn_neck is not None:
            reference, neck = self.attn_neck.remember(features, neck)
        if self.uses_support:
            support, supporting = self.support.remember(features, supporting)
        proposals = self.propose(self.attend(features, reference), frame.metainfo)
        detections = self.detect(features, proposals, frame.metainfo, support)
        detections.ids, tracks = self.associate(features, detections, state.tracks)
        state = replace(state, frame_size=size, tracks=tracks, neck=neck, support=supporting)
        instances, state = self.instances_of_frame(frame, detections, state, support)
        return [(frame.number, instances)], state

    def instances_of_frame(
        self,
        frame: Frame,
        detections: InstanceData,
        state: MaskTrackRCNNState,
        support: Sequence[Features],
    ) -> tuple[InstanceData, MaskTrackRCNNState]:
        """Turns a frame's detections into its instances.

        Args:
            frame: The frame.
            detections: With ``ids``, boxes in pixels of the network's input.
            state: After association.
            support: As in :meth:`detect`.

        Returns:
            Instances as :meth:`step` gives them, and the state.
        """
        return self.segment(frame.features, detections, frame.metainfo, support), state

    # Stages

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
        levels = [level.chunk(num_frames) for level in self.encode(images)]
        return [list(position) for position in zip(*levels, strict=True)]

    def attend(self, features: Features, reference: Features) -> Features:
        """What the RPN sees: the features, attended by the neck if there is one.

        Args:
            features: Per level (B, C, H, W).
            reference: The same of the reference frames; at test, of the frame before.
        """
        return features if self.attn_neck is None else self.attn_neck(features, reference)

    def propose_with_loss(
        self, features: Features, samples: Sequence[DetDataSample]
    ) -> tuple[dict[str, Tensor], list[InstanceData]]:
        """RPN losses and the proposals to train the heads on."""
        # The RPN's one-channel classifier takes every label but 0 for background.
        rpn_samples = [copy.copy(sample) for sample in samples]
        for sample in rpn_samples:
            instances = copy.copy(sample.gt_instances)
            instances.labels = torch.zeros_like(instances.labels)
            sample.gt_instances = instances
        train_cfg = self.detector.train_cfg
        losses, proposals = self.detector.rpn_head.loss_and_predict(
            features, rpn_samples, proposal_cfg=train_cfg.rpn_proposal
        )
        return {
            name if 'rpn' in name else f'rpn_{name}': value for name, value in losses.items()
        }, proposals

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
            results.append(
                roi_head.bbox_sampler.sample(
                    assigned,
                    priors,
                    instances[image],
                    feats=[level[image][None] for level in features],
                )
            )
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
        features = self._with_support(features, support)
        boxes = roi_head.bbox_loss(features, sampling_results)
        masks = roi_head.mask_loss(
            features,
            sampling_results,
            boxes['bbox_feats'],
            [sample.gt_instances for sample in samples],
        )
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
        return roi_head.predict_bbox(
            self._with_support(features, support),
            [metainfo],
            [proposals],
            roi_head.test_cfg,
            rescale=False,
        )[0]

    def associate(
        self, features: Features, detections: InstanceData, memory: TrackMemory
    ) -> tuple[Tensor, TrackMemory]:
        """Ids of a frame's detections and the new memory."""
        return self.tracker.associate(
            self.track_head.embed(features, [detections.bboxes])[0],
            detections.bboxes,
            detections.labels,
            detections.scores,
            memory,
            matching_logits,
        )

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
        features = self._with_support(features, support)
        size, threshold = metainfo['ori_shape'][:2], roi_head.test_cfg.mask_thr_binary
        if not _is_plain(roi_head.mask_head) or threshold <= 0:
            # mmdet rescales the boxes in place; the state holds the ones of before.
            detections.bboxes = detections.bboxes.clone()
            instances = roi_head.predict_mask(features, [metainfo], [detections], rescale=True)[0]
            instances.masks = FrameMasks.dense(instances.masks.bool())
            return instances
        instances = detections.new()
        scale = detections.bboxes.new_tensor(metainfo['scale_factor']).repeat(2)
        instances.bboxes = detections.bboxes / scale
        if len(detections) == 0:
            instances.masks = FrameMasks(size)
            return instances
        logits = roi_head._mask_forward(features, bbox2roi([detections.bboxes]))['mask_preds']
        instances.masks = FrameMasks.of_logits(
            logits,
            instances.labels,
            instances.bboxes,
            size,
            threshold,
            roi_head.mask_head.class_agnostic,
        )
        return instances

    # Facts for generic code

    def float32_outputs(self) -> list[nn.Module]:
        """Those of the detector, and the embeddings; see the base class."""
        return [*float32_outputs(self.detector), self.track_head.embed_head]

    def category_counts(self) -> dict[str, int]:
        """Those of the RoI head; see the base class."""
        return category_counts(self.detector.roi_head, 'detector.roi_head')

    def _with_support(self, features: Features, support: Sequence[Features]) -> Features:
        return SupportedLevels(features, support) if self.uses_support else features


def _is_plain(mask_head: nn.Module) -> bool:
    """Whether masks are made from logits and boxes in the way that we know to shorten."""
    method = '_predict_by_feat_single'
    return getattr(type(mask_head), method, None) is getattr(FCNMaskHead, method)
