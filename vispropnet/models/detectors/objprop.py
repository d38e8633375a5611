"""ObjProp (Chakravarthy et al. 2021): MaskTrack R-CNN that carries known objects along."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from vispropnet.models.base import mean_of_losses
from vispropnet.models.detectors.masktrack_rcnn import MaskTrackRCNN, MaskTrackRCNNState
from vispropnet.models.detectors.two_stage import Features, category_counts
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.models.frames import Frame
from vispropnet.models.looks import Look
from vispropnet.models.trackers import HistoryFrame
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

    Raises:
        ValueError: if neck or propagation head take other channels or more levels than the features
            have, or there is no propagation head.
    """

    state_type = ObjPropState

    def __init__(
        self,
        detector: dict,
        track_head: dict,
        tracker: dict,
        prop_head: dict,
        recovery: dict | None = None,
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

    def loss_of_features(
        self, features: Sequence[Features], samples: Sequence[Sequence[DetDataSample]]
    ) -> dict[str, Tensor]:
        """Adds the losses of the propagation head, means over the references; see the base."""
        losses = super().loss_of_features(features, samples)
        (key_features, *ref_features), (key_samples, *ref_samples) = features, samples
        return losses | mean_of_losses(
            [
                self.prop_head.loss(key_features, some, key_samples, truth)
                for some, truth in zip(ref_features, ref_samples, strict=True)
            ]
        )

    def instances_of_frame(
        self,
        frame: Frame,
        detections: InstanceData,
        ids: Tensor,
        state: ObjPropState,
        support: Sequence[Features],
    ) -> tuple[InstanceData, ObjPropState]:
        """Adds ``propagated`` ((N,) bool) and the recovered instances; see the base class."""
        recovered = None
        if self.recovery.enabled:
            # Before boxes are scaled to the original frame.
            recovered, history = self.recover(frame, detections, ids, state)
            state = replace(state, history=history)
        instances, state = super().instances_of_frame(frame, detections, ids, state, support)
        instances.propagated = torch.zeros_like(instances.labels, dtype=torch.bool)
        if not recovered:
            return instances, state
        recovered.masks = FrameMasks.dense(recovered.masks)
        recovered.propagated = torch.ones_like(recovered.labels, dtype=torch.bool)
        for name in ('scores', 'bboxes'):
            recovered[name] = recovered[name].to(instances[name].dtype)
        return InstanceData.cat([instances, recovered]), state

    def recover(
        self, frame: Frame, detections: InstanceData, ids: Tensor, state: ObjPropState
    ) -> tuple[InstanceData, tuple[HistoryFrame, ...]]:
        """Tracks that the history holds and no detection is, and the new history."""
        current = self.prop_head.features(frame.features)[0]
        given = current, detections, ids, state.tracks.ids, state.history
        return self.recovery.recover(*given, frame.metainfo, self.prop_head)

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
