"""mmdet's own MaskTrack R-CNN behind our contract, to compare with in one run."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmdet.models.vis import MaskTrackRCNN as MMDetClass
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from vispropnet.models.detectors.base import Pairs, VISDetector
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.registry import MODELS


@MODELS.register_module()
class MMDetMaskTrackRCNN(VISDetector):
    """The class that mmdet 3.5.1 ships, as shipped: its losses, its tracker.

    A baseline only. The same data, preprocessing, loops and evaluation serve both, so a difference
    in the score is a difference of the models.

    Args:
        detector: Config of mmdet's ``MaskRCNN``.
        track_head: Config of mmdet's ``RoITrackHead``.
        tracker: Config of mmdet's ``MaskTrackRCNNTracker``.
        data_preprocessor: Config of the preprocessing.
    """

    def __init__(
        self,
        detector: dict,
        track_head: dict,
        tracker: dict,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.model = MMDetClass(detector=detector, track_head=track_head, tracker=tracker)

    def loss(self, inputs: Tensor, data_samples: Pairs) -> dict[str, Tensor]:
        """Losses as mmdet computes them; see the base class."""
        batch_size = len(data_samples['key'])
        frames = torch.stack([inputs[:batch_size], inputs[batch_size:]], dim=1)
        samples = []
        for key, ref in zip(data_samples['key'], data_samples['ref'], strict=True):
            samples.append(
                TrackDataSample(
                    video_data_samples=[key, ref],
                    metainfo=dict(key_frames_inds=[0], ref_frames_inds=[1]),
                )
            )
        return self.model.loss(frames, samples)

    def init_state(self) -> Any:
        """Makes a tracker of its own for the video: mmdet's tracker is the state."""
        return copy.deepcopy(self.model.tracker)

    @torch.no_grad()
    def step(self, image: Tensor, metainfo: dict, state: Any) -> tuple[InstanceData, Any]:
        """Segments and associates the next frame; see the base class."""
        sample = DetDataSample(metainfo=metainfo)
        shared, self.model.tracker = self.model.tracker, state
        try:
            track_sample = TrackDataSample(video_data_samples=[sample])
            self.model.predict(image[None, None], [track_sample])
        finally:
            self.model.tracker = shared
        # mmdet's tracker gives some ids twice in a frame; a result file holds one mask for each.
        instances = _best_of_each_id(sample.pred_track_instances)
        return InstanceData(
            ids=instances.instances_id,
            labels=instances.labels,
            scores=instances.scores,
            bboxes=instances.bboxes,
            masks=FrameMasks.dense(instances.masks),
        ), state


def _best_of_each_id(instances: InstanceData) -> InstanceData:
    """Keeps the best scored instance of each id, in the given order."""
    by_score = instances.scores.argsort(descending=True, stable=True)
    ids = instances.instances_id[by_score]
    # An instance goes when a better scored one, a column to the left of the diagonal, has its id.
    beaten = (ids[:, None] == ids[None, :]).tril(diagonal=-1).any(dim=1)
    return instances[by_score[~beaten].sort().values]
