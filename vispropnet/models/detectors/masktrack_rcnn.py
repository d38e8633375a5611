"""MaskTrack R-CNN (Yang, Fan and Xu, "Video Instance Segmentation", ICCV 2019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor, nn

from vispropnet.models.base import Clips, frames_of_clips, mean_of_losses
from vispropnet.models.detectors.two_stage import Features, TwoStageVISDetector
from vispropnet.models.frames import Answers, Frame, FrameSize
from vispropnet.models.looks import BoxLook, Look
from vispropnet.models.roi_extractors import TemporalRoIAlign
from vispropnet.models.trackers import TrackMemory
from vispropnet.ops.transfer import to_device
from vispropnet.registry import MODELS, TASK_UTILS


@dataclass(frozen=True)
class MaskTrackRCNNState:
    """State of a video in a MaskTrack R-CNN; never changed, each frame makes a new one.

    Args:
        tracks: What association remembers.
        frame_size: Height and width of the original frames; None before the first.
        previous: Features of the frame before, per level (1, C, H, W), for the attention neck;
            None before the first frame and without a neck.
        support: The same of each frame that supports the next one, in the order of the video.
    """

    tracks: TrackMemory
    frame_size: FrameSize | None = None
    previous: Features | None = None
    support: tuple[Features, ...] = ()


@MODELS.register_module()
class MaskTrackRCNN(TwoStageVISDetector):
    """Mask R-CNN with a head that identifies objects across frames.

    The stages (encode, attend, propose, detect, associate, segment) are methods that training and
    inference share. The other arguments are those of
    :class:`~vispropnet.models.detectors.two_stage.TwoStageVISDetector`.

    Args:
        track_head: Config of the track head.
        tracker: Config of the association.
        attn_neck: Config of an attention neck between the features and the RPN; None for none.

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
        """
        (key_features, *ref_features), (key_samples, *ref_samples) = features, samples
        attended = self.attend(key_features, ref_features[0])
        losses, proposals = self.propose_with_loss(attended, key_samples)
        sampling_results = self.sample_rois(key_features, proposals, key_samples)
        losses |= self.detection_loss(key_features, sampling_results, key_samples, ref_features)
        key, *refs = (
            self.with_support(
                some, [*features[:at], *features[at + 1 :]], [sample.metainfo for sample in truth]
            )
            for at, (some, truth) in enumerate(zip(features, samples, strict=True))
        )
        return losses | mean_of_losses(
            [
                self.track_head.loss(key, some, sampling_results, key_samples, truth)
                for some, truth in zip(refs, ref_samples, strict=True)
            ]
        )

    def init_state(self) -> MaskTrackRCNNState:
        """Makes the state of a video before its first frame."""
        return self.state_type(self.tracker.init_memory(next(self.parameters()).device))

    @property
    def overview(self) -> int:
        """Frames of the whole video that support every frame; see the base class."""
        return self.support.overview if self.uses_support else 0

    @torch.no_grad()
    def look_over(self, frame: Frame, state: MaskTrackRCNNState) -> MaskTrackRCNNState:
        """Keeps a frame of the whole video as support of all; see the base class."""
        self.check_state(state)
        size = frame.size_after(state.frame_size)
        support = self.support.look_over(frame.features, state.support)
        return replace(state, frame_size=size, support=support)

    @torch.no_grad()
    def step(self, frame: Frame, state: MaskTrackRCNNState) -> tuple[Answers, MaskTrackRCNNState]:
        """Segments and associates the next frame of a video; see the base class."""
        self.check_state(state)
        size = frame.size_after(state.frame_size)
        features, support = frame.features, state.support
        if self.uses_support:
            self.support.check_overview(support)
        reference = features if state.previous is None else state.previous
        proposals = self.propose(self.attend(features, reference), frame.metainfo)
        detections = self.detect(features, proposals, frame.metainfo, support)
        instances, after = self.instances_of_frame(frame, detections, state)
        after = replace(after, frame_size=size)
        if self.attn_neck is not None:
            after = replace(after, previous=features)
        if self.uses_support:
            after = replace(after, support=self.support.remember(features, support, frame.number))
        return [(frame.number, instances)], after

    def instances_of_frame(
        self, frame: Frame, detections: InstanceData, state: MaskTrackRCNNState
    ) -> tuple[InstanceData, MaskTrackRCNNState]:
        """Turns a frame's detections into its instances as :meth:`step` gives them.

        Args:
            frame: The frame.
            detections: Boxes in pixels of the network's input.
            state: Before the frame.

        Returns:
            The instances, and the state after association.
        """
        detections, _, tracks = self.identify(frame, detections, state)
        instances = self.segment(frame.features, detections, frame.metainfo, state.support)
        return instances, replace(state, tracks=tracks)

    def identify(
        self,
        frame: Frame,
        detections: InstanceData,
        state: MaskTrackRCNNState,
        carry: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[InstanceData, Tensor, TrackMemory]:
        """Gives detections their ``ids``, and leaves out those that association drops.

        Args:
            frame: The frame.
            detections: Boxes in pixels of the network's input.
            state: Before the frame.
            carry: As in :meth:`~vispropnet.models.trackers.MatchingTracker.associate`.

        Returns:
            The detections, their ids on the CPU, and what association remembers after the frame.
        """
        features = self.with_support(frame.features, state.support, [frame.metainfo])
        ids, tracks = self.associate(features, detections, state.tracks, carry)
        kept = (ids >= 0).nonzero().flatten()
        if len(kept) < len(ids):
            ids, detections = ids[kept], detections[to_device(kept, detections.scores.device)]
        detections.ids = to_device(ids, detections.scores.device)
        return detections, ids, tracks

    # Stages

    def attend(self, features: Features, reference: Features) -> Features:
        """Features that the RPN sees, per level (B, C, H, W): attended if there is a neck."""
        return features if self.attn_neck is None else self.attn_neck(features, reference)

    def associate(
        self,
        features: Features,
        detections: InstanceData,
        memory: TrackMemory,
        carry: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, TrackMemory]:
        """Ids of a frame's detections, on the CPU, and the new memory."""
        return self.tracker.associate(
            self.track_head.embed(features, [detections.bboxes])[0],
            detections.bboxes,
            detections.labels,
            detections.scores,
            memory,
            self.track_head.match,
            carry,
        )

    def looks(self, current: Features, reference: Features, label: int | None = None) -> list[Look]:
        """Adds the correlation of the attention neck, if there is one; see the base class."""
        if self.attn_neck is None:
            return super().looks(current, reference, label)
        strides = [pair[0] for pair in self.detector.rpn_head.prior_generator.strides]
        return self.attn_neck.looks(current, reference, strides)

    def supporting_frames(self, number: int, length: int) -> list[int]:
        """Those of the support; see the base class."""
        return self.support.numbers(number, length) if self.uses_support else []

    def box_looks(self, frame: Frame, support: Sequence[Frame], box: Tensor) -> list[BoxLook]:
        """Those of RoI extractors that look at other frames; see the base class."""
        others = [one.features for one in support]
        levels = self.with_support(frame.features, others, [frame.metainfo])
        rois = bbox2roi([box[None]])
        return [
            BoxLook(name, part.places(levels, rois)[:, 0], part.searched_strides(rois)[0])
            for name, part in self.named_modules()
            if isinstance(part, TemporalRoIAlign)
        ]

    def float32_outputs(self) -> list[nn.Module]:
        """Adds the embeddings; see the base class."""
        return [*super().float32_outputs(), self.track_head.embed_head]
