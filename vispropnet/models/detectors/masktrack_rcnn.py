"""MaskTrack R-CNN (Yang, Fan and Xu, "Video Instance Segmentation", ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from vispropnet.models.base import Clips, frames_of_clips, mean_of_losses
from vispropnet.models.detectors.two_stage import Features, TwoStageVISDetector
from vispropnet.models.frames import Answers, Frame, FrameSize
from vispropnet.models.looks import Look
from vispropnet.models.necks import NeckMemory
from vispropnet.models.support import SupportMemory
from vispropnet.models.track_heads import matching_logits
from vispropnet.models.trackers import TrackMemory
from vispropnet.ops.transfer import to_device
from vispropnet.registry import MODELS, TASK_UTILS


@dataclass(frozen=True)
class MaskTrackRCNNState:
    """State of a video in a MaskTrack R-CNN; never changed, each frame makes a new one.

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
class MaskTrackRCNN(TwoStageVISDetector):
    """Mask R-CNN with a head that identifies objects across frames.

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
            below ``detector.roi_head`` and ``track_head`` that look at other frames need it.
        data_preprocessor: Config of the preprocessing.
        init_cfg: Initialisation, as in mmengine.

    Raises:
        ValueError: if the attention neck takes other channels than the features have, or a part
            needs features of other frames and would get none.
    """

    state_type = MaskTrackRCNNState
    support_places = ('detector.roi_head.', 'track_head.')

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
        super().__init__(detector, support, data_preprocessor, init_cfg)
        self.track_head = MODELS.build(track_head)
        self.tracker = TASK_UTILS.build(tracker)
        # Its draws are its own: all other weights start as they do without it.
        with torch.random.fork_rng(devices=[]):
            self.attn_neck = None if attn_neck is None else MODELS.build(attn_neck)
        if self.attn_neck is not None:
            self.check_channels('attn_neck: channels', self.attn_neck.channels)
        self.check_support()

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
        supported = [
            self.with_support(
                some,
                [*features[:position], *features[position + 1 :]],
                [sample.metainfo for sample in truth],
            )
            for position, (some, truth) in enumerate(zip(features, samples, strict=True))
        ]
        losses.update(
            mean_of_losses(
                [
                    self.track_head.loss(supported[0], some, sampling_results, key_samples, truth)
                    for some, truth in zip(supported[1:], ref_samples, strict=True)
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
            support, supporting = self.support.remember(features, supporting, self.support_levels)
        proposals = self.propose(self.attend(features, reference), frame.metainfo)
        detections = self.detect(features, proposals, frame.metainfo, support)
        ids, tracks = self.associate(
            self.with_support(features, support, [frame.metainfo]), detections, state.tracks
        )
        kept = (ids >= 0).nonzero().flatten()
        if len(kept) < len(ids):
            ids, detections = ids[kept], detections[to_device(kept, detections.scores.device)]
        detections.ids = to_device(ids, detections.scores.device)
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

    def attend(self, features: Features, reference: Features) -> Features:
        """Features that the RPN sees: attended by the neck if there is one.

        Args:
            features: Per level (B, C, H, W).
            reference: The same of the reference frames; at test, of the frame before.
        """
        return features if self.attn_neck is None else self.attn_neck(features, reference)

    def associate(
        self, features: Features, detections: InstanceData, memory: TrackMemory
    ) -> tuple[Tensor, TrackMemory]:
        """Ids of a frame's detections, on the CPU, and the new memory."""
        return self.tracker.associate(
            self.track_head.embed(features, [detections.bboxes])[0],
            detections.bboxes,
            detections.labels,
            detections.scores,
            memory,
            matching_logits,
        )

    def looks(self, current: Features, reference: Features, label: int | None = None) -> list[Look]:
        """Adds the correlation of the attention neck, if there is one; see the base class."""
        if self.attn_neck is None:
            return super().looks(current, reference, label)
        strides = [pair[0] for pair in self.detector.rpn_head.prior_generator.strides]
        return self.attn_neck.looks(current, reference, strides)

    def float32_outputs(self) -> list[nn.Module]:
        """Adds the embeddings; see the base class."""
        return [*super().float32_outputs(), self.track_head.embed_head]
