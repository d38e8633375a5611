"""MaskProp (Bertasius and Torresani, "Classifying, Segmenting, and Tracking Object Instances in
Video with Mask Propagation", CVPR 2020)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional

from vispropnet.models.base import Clips, frames_of_clips
from vispropnet.models.detectors.roi_stages import (
    cascade_losses,
    check_mask_heads,
    mask_probabilities,
)
from vispropnet.models.detectors.two_stage import Features, TwoStageVISDetector
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.models.frames import Answers, Frame, FrameSize, box_scale, enlarge_masks
from vispropnet.models.prop_heads.boxes import mask_boxes
from vispropnet.models.prop_heads.mask_propagation_head import FrameMaps
from vispropnet.models.trackers.clip_joining import JoinedFrame, JoinMemory
from vispropnet.models.trackers.clip_tracks import SHOWN
from vispropnet.models.trackers.gap_filling import Missed
from vispropnet.ops.transfer import to_device
from vispropnet.registry import MODELS, TASK_UTILS


@dataclass(frozen=True)
class ClipFrame:
    """A frame that masks are carried from and to.

    Args:
        maps: What the propagation head made of it.
        masks: (N, h, w) in [0, 1] of the objects detected in it.
    """

    maps: FrameMaps
    masks: Tensor


@dataclass(frozen=True)
class WaitingFrame:
    """A frame whose objects have no ids yet, or that is to be filled in.

    Args:
        number: Of the frame in its video.
        metainfo: Of the frame.
        instances: Of the frame, but for their ids.
    """

    number: int
    metainfo: Mapping[str, Any]
    instances: InstanceData


@dataclass(frozen=True)
class MaskPropState:
    """State of a video in a MaskProp; never changed, each frame makes a new one.

    Args:
        window: The last T frames, oldest first.
        memory: What the joining of clips remembers.
        waiting: Frames that are not answered, oldest first.
        frame_size: Height and width of the original frames; None before the first.
    """

    window: tuple[ClipFrame, ...] = ()
    memory: JoinMemory = JoinMemory()  # noqa: RUF009 (never changed)
    waiting: tuple[WaitingFrame, ...] = ()
    frame_size: FrameSize | None = None


@MODELS.register_module()
class MaskProp(TwoStageVISDetector):
    """Mask R-CNN whose masks are carried through a clip around each frame; clips join to videos.

    As a frame arrives, masks of the last T frames are carried to it, and its own to them. So a clip
    is complete T frames after its centre, and a pair of frames is carried between once each way.

    Args:
        detector: Config of mmdet's ``MaskRCNN``, ``CascadeRCNN`` with mask heads, or another
            two-stage detector with a plain RoI head or a cascade.
        prop_head: Config of the mask propagation head.
        tracker: Config of the joining of clips, see
            :class:`~vispropnet.models.trackers.clip_joining.ClipJoiner`.
        data_preprocessor: Config of the preprocessing.
        init_cfg: Initialisation, as in mmengine.

    Raises:
        ValueError: if the detector has no mask head, the propagation head takes other channels or
            another level than the features have, or a part needs features of other frames.
    """

    state_type = MaskPropState
    support_places = ()

    def __init__(
        self,
        detector: dict,
        prop_head: dict,
        tracker: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(detector, None, data_preprocessor, init_cfg)
        check_mask_heads(self.detector)
        # Its draws are its own: all other weights start alike with any head.
        with torch.random.fork_rng(devices=[]):
            self.prop_head = MODELS.build(prop_head)
        self.check_channels('prop_head: in_channels', self.prop_head.in_channels)
        levels = getattr(self.detector.neck, 'num_outs', self.prop_head.level + 1)
        if not 0 <= self.prop_head.level < levels:
            raise ValueError(
                f'prop_head: level={self.prop_head.level}, but detector.neck gives '
                f'num_outs={levels}'
            )
        self.tracker = TASK_UTILS.build(tracker)
        self.look_ahead = self.tracker.look_ahead

    def loss(self, inputs: Tensor, clips: Clips) -> dict[str, Tensor]:
        """Losses of the detector on the key frames, and of carrying their masks; see the base."""
        samples = frames_of_clips(clips)
        features = self.encode_clips(inputs, len(samples))
        losses = self.detector_loss(features[0], samples[0])
        return losses | self.prop_head.loss(features, samples)

    def detector_loss(
        self, features: Features, samples: Sequence[DetDataSample]
    ) -> dict[str, Tensor]:
        """Losses of RPN, box and mask heads.

        Args:
            features: Per level (B, C, H, W).
            samples: Ground truth.
        """
        losses, proposals = self.propose_with_loss(features, samples)
        roi_head = self.detector.roi_head
        if isinstance(roi_head, CascadeRoIHead):
            return losses | cascade_losses(roi_head, features, proposals, samples)
        sampling_results = self.sample_rois(features, proposals, samples)
        return losses | self.detection_loss(features, sampling_results, samples)

    def init_state(self) -> MaskPropState:
        """Makes the state of a video before its first frame."""
        return MaskPropState()

    @torch.no_grad()
    def step(self, frame: Frame, state: MaskPropState) -> tuple[Answers, MaskPropState]:
        """Segments the next frame, and answers those whose clips are joined; see the base class."""
        self.check_state(state)
        size = frame.size_after(state.frame_size)
        instances, current = self.detect_and_segment(frame)
        carry = self.prop_head.carry
        carried = [carry(one.maps, one.masks, current.maps) for one in state.window]
        own = [carry(current.maps, current.masks, one.maps) for one in state.window]
        # In its own frame an object has the mask that was detected.
        joined, memory = self.tracker.take_in(
            state.memory, carried, [*own, current.masks], instances.labels, instances.scores
        )
        waiting = (*state.waiting, WaitingFrame(frame.number, frame.metainfo, instances))
        kept = max(len(state.window) + 1 - self.tracker.reach, 0)
        state = MaskPropState(
            window=(*state.window, current)[kept:],
            memory=memory,
            waiting=waiting[len(joined) :],
            frame_size=size,
        )
        return self._answers(waiting, joined), state

    @torch.no_grad()
    def finish(self, state: MaskPropState) -> Answers:
        """Answers the frames that waited for later ones; see the base class."""
        self.check_state(state)
        return self._answers(state.waiting, self.tracker.finish(state.memory))

    def detect_and_segment(self, frame: Frame) -> tuple[InstanceData, ClipFrame]:
        """Finds the objects of a frame.

        Returns:
            The instances, boxes and masks in pixels of the original frame; and what masks are
            carried from.
        """
        features, metainfo = frame.features, frame.metainfo
        roi_head = self.detector.roi_head
        detections = self.detect(features, self.propose(features, metainfo), metainfo)
        boxes = detections.bboxes
        small = mask_probabilities(roi_head, features, boxes, detections.labels)
        maps = self.prop_head.maps(features).of(0)
        masks = self.prop_head.place(small, boxes, maps.attention.shape)
        instances = detections.new()
        instances.bboxes = boxes / box_scale(metainfo, boxes)
        instances.masks = FrameMasks.pasted(
            small, instances.bboxes, metainfo['ori_shape'][:2], roi_head.test_cfg.mask_thr_binary
        )
        return instances, ClipFrame(maps, masks)

    def _answers(self, waiting: Sequence[WaitingFrame], joined: Sequence[JoinedFrame]) -> Answers:
        """Answers of the first of the waiting frames, those that were joined."""
        answers = []
        for frame, found in zip(waiting, joined, strict=False):
            instances = frame.instances.clone()
            instances.ids = to_device(found.ids, instances.labels.device)
            if found.missed is not None:
                instances.propagated = torch.zeros_like(instances.labels, dtype=torch.bool)
                if len(found.missed.ids) > 0:
                    filled = self._filled(found.missed, frame.metainfo)
                    instances = InstanceData.cat([instances, filled])
            answers.append((frame.number, instances))
        return answers

    def _filled(self, missed: Missed, metainfo: Mapping[str, Any]) -> InstanceData:
        """Instances of objects that the detector missed; those that show nowhere are left out."""
        enlarged = functional.interpolate(
            missed.masks[:, None],
            scale_factor=self.prop_head.stride,
            mode='bilinear',
            align_corners=False,
        )[:, 0]
        masks = enlarge_masks(enlarged, metainfo, SHOWN)
        shown = masks.any(dim=(1, 2)).cpu().nonzero().flatten()
        columns = (missed.ids, missed.labels, missed.scores)
        ids, labels, scores = (to_device(one[shown], masks.device) for one in columns)
        masks = masks[to_device(shown, masks.device)]
        return InstanceData(
            ids=ids,
            labels=labels,
            scores=scores,
            bboxes=mask_boxes(masks),
            masks=FrameMasks.dense(masks),
            propagated=torch.ones_like(labels, dtype=torch.bool),
        )

    def explain_missing(self, missing: Collection[str]) -> str:
        """Recognises checkpoints without a mask propagation head; see the base class."""
        if not {f'prop_head.{key}' for key in self.prop_head.state_dict()} <= set(missing):
            return ''
        return (
            'it has no mask propagation head (a Mask R-CNN or MaskTrack R-CNN checkpoint?). '
            'Training MaskProp can start from it with --cfg-options load_from=FILE'
        )
