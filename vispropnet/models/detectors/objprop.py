"""ObjProp (Chakravarthy et al. 2021): MaskTrack R-CNN that carries known objects along."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from vispropnet.models.base import mean_of_losses
from vispropnet.models.detectors.masktrack_rcnn import MaskTrackRCNN, MaskTrackRCNNState
from vispropnet.models.detectors.two_stage import Features, category_counts
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.models.frames import Frame, box_scale
from vispropnet.models.looks import Look
from vispropnet.models.trackers import CarriedTracks, HistoryFrame
from vispropnet.registry import MODELS, TASK_UTILS


@dataclass(frozen=True)
class ObjPropState(MaskTrackRCNNState):
    """State of a video in an ObjProp.

    Args:
        history: The last frames, to propagate from; empty if tracks are not recovered.
    """

    history: tuple[HistoryFrame, ...] = ()


@MODELS.register_module()
class ObjProp(MaskTrackRCNN):
    """MaskTrack R-CNN with a propagation head, which recovers objects that the detector missed.

    The other arguments are those of :class:`MaskTrackRCNN`.

    Args:
        prop_head: Config of the propagation head.
        recovery: Config of what is done with it at test, see
            :class:`~vispropnet.models.trackers.track_recovery.TrackRecovery`; None for nothing.
        freeze_detector: Training changes the propagation head alone: all other parts keep their
            weights and the statistics of their normalisation, and have no losses.

    Raises:
        ValueError: if neck or propagation head take other channels or more levels than the features
            have, there is no propagation head, or ``freeze_detector`` is neither true nor false.
    """

    state_type = ObjPropState

    def __init__(
        self,
        detector: dict,
        track_head: dict,
        tracker: dict,
        prop_head: dict,
        recovery: dict | None = None,
        freeze_detector: bool = False,
        attn_neck: dict | None = None,
        support: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            detector, track_head, tracker, attn_neck, support, data_preprocessor, init_cfg=init_cfg
        )
        if prop_head is None:
            raise ValueError('ObjProp: prop_head must be a config, got None; see MaskTrackRCNN')
        self.prop_head = MODELS.build(prop_head)
        self.check_channels('prop_head: in_channels', self.prop_head.in_channels)
        levels = getattr(self.detector.neck, 'num_outs', self.prop_head.num_levels)
        if self.prop_head.num_levels > levels:
            raise ValueError(
                f'prop_head: num_levels={self.prop_head.num_levels}, but detector.neck gives '
                f'num_outs={levels}'
            )
        self.recovery = TASK_UTILS.build(recovery or dict(type='TrackRecovery', enabled=False))
        self.check_support()
        if freeze_detector not in (True, False):
            raise ValueError(f'freeze_detector must be True or False, got {freeze_detector!r}')
        self.freeze_detector = freeze_detector
        if freeze_detector:
            for part in self._frozen_parts():
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> ObjProp:
        """Sets the mode; frozen parts stay as at test, so that their statistics stay too."""
        super().train(mode)
        if self.freeze_detector:
            for part in self._frozen_parts():
                part.eval()
        return self

    def _frozen_parts(self) -> list[nn.Module]:
        return [part for part in self.children() if part is not self.prop_head]

    def loss_of_features(
        self, features: Sequence[Features], samples: Sequence[Sequence[DetDataSample]]
    ) -> dict[str, Tensor]:
        """Adds the losses of the propagation head, means over the references; see the base."""
        losses = {} if self.freeze_detector else super().loss_of_features(features, samples)
        (key_features, *ref_features), (key_samples, *ref_samples) = features, samples
        return losses | mean_of_losses(
            [
                self.prop_head.loss(key_features, some, key_samples, truth)
                for some, truth in zip(ref_features, ref_samples, strict=True)
            ]
        )

    def instances_of_frame(
        self, frame: Frame, detections: InstanceData, state: ObjPropState
    ) -> tuple[InstanceData, ObjPropState]:
        """Adds ``propagated`` ((N,) bool) and the recovered instances; see the base class."""
        if not self.recovery.enabled:
            instances, state = super().instances_of_frame(frame, detections, state)
            instances.propagated = torch.zeros_like(instances.labels, dtype=torch.bool)
            return instances, state
        current = self.prop_head.features(frame.features)[0]
        carried = []

        def carry(ids: Tensor) -> tuple[Tensor, Tensor]:
            carried.append(self.carry(frame, current, ids, state))
            boxes = carried[0].boxes
            return carried[0].ids, boxes * box_scale(frame.metainfo, boxes)

        detections, ids, tracks = self.identify(frame, detections, state, carry)
        state = replace(state, tracks=tracks)
        instances = self.segment(frame.features, detections, frame.metainfo, state.support)
        instances.propagated = torch.zeros_like(instances.labels, dtype=torch.bool)
        detections.masks = instances.masks
        recovered, history = self.recover(frame, current, detections, ids, state, *carried)
        if recovered:
            recovered = self.draw(frame, recovered, state)
            for name in ('scores', 'bboxes'):
                recovered[name] = recovered[name].to(instances[name].dtype)
            recovered.propagated = torch.ones_like(recovered.labels, dtype=torch.bool)
            instances = InstanceData.cat([instances, recovered])
        return instances, replace(state, history=history)

    def carry(
        self, frame: Frame, current: Tensor, ids: Tensor, state: ObjPropState
    ) -> CarriedTracks:
        """Carries some tracks, of ids (M,) on the CPU, from the history to the frame.

        Args:
            frame: The frame.
            current: (C, h, w) features of the propagation head.
            ids: Of all tracks that are known, or of those that no detection is.
            state: Before the frame.
        """
        given = state.history, frame.metainfo, self.prop_head
        return self.recovery.carry(current, ids.new_zeros(0), ids, *given)

    def recover(
        self,
        frame: Frame,
        current: Tensor,
        detections: InstanceData,
        ids: Tensor,
        state: ObjPropState,
        carried: CarriedTracks | None = None,
    ) -> tuple[InstanceData, tuple[HistoryFrame, ...]]:
        """Tracks that the history holds and no detection is, and the new history.

        Args:
            frame: The frame.
            current: (C, h, w) features of the propagation head.
            detections: Boxes in pixels of the network's input, masks of the original frame.
            ids: (N,) int64, those of the detections on the CPU.
            state: After association.
            carried: Of :meth:`carry`; None if nothing was carried yet.
        """
        given = state.tracks.ids, state.history, frame.metainfo, self.prop_head
        return self.recovery.recover(current, detections, ids, *given, carried)

    def draw(self, frame: Frame, recovered: InstanceData, state: ObjPropState) -> InstanceData:
        """Recovered instances with the masks that are given out, boxes in the original frame."""
        if self.recovery.masks == 'propagation':
            recovered.masks = FrameMasks.dense(recovered.masks)
            return recovered
        boxes = recovered.bboxes * box_scale(frame.metainfo, recovered.bboxes)
        given = InstanceData(
            bboxes=boxes, labels=recovered.labels, scores=recovered.scores, ids=recovered.ids
        )
        return self.segment(frame.features, given, frame.metainfo, state.support)

    def looks(self, current: Features, reference: Features, label: int | None = None) -> list[Look]:
        """Adds the affinity of the propagation head; see the base class."""
        own = self.prop_head.looks(current, reference, label)
        return [*own, *super().looks(current, reference, label)]

    def category_counts(self) -> dict[str, int]:
        """Adds those of the propagation head; see the base class."""
        return {**super().category_counts(), **category_counts(self.prop_head, 'prop_head')}

    def explain_missing(self, missing: Collection[str]) -> str:
        """Recognises checkpoints without a propagation head; see the base class."""
        if not {f'prop_head.{key}' for key in self.prop_head.state_dict()} <= set(missing):
            return ''
        return (
            'it has no propagation head (a MaskTrack R-CNN checkpoint?). Training ObjProp can '
            'start from it with --cfg-options load_from=FILE'
        )
