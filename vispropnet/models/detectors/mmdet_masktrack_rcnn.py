"""mmdet's own MaskTrack R-CNN behind our contract, to compare with in one run."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from mmdet.models.vis import MaskTrackRCNN as MMDetClass
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from vispropnet.models.base import Clips, VISDetector, frames_of_clips
from vispropnet.models.detectors.two_stage import category_counts, float32_outputs
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.models.frames import Answers, Frame
from vispropnet.models.support import check_support
from vispropnet.registry import MODELS


@dataclass(frozen=True)
class MMDetState:
    """State of a video in mmdet's class.

    Args:
        tracker: mmdet's, for this video alone.
    """

    tracker: nn.Module


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

    Raises:
        ValueError: if a part needs features of other frames, which this class passes to none.
    """

    state_type = MMDetState

    def __init__(
        self,
        detector: dict,
        track_head: dict,
        tracker: dict,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.model = MMDetClass(detector=detector, track_head=track_head, tracker=tracker)
        check_support(self)

    def loss(self, inputs: Tensor, clips: Clips) -> dict[str, Tensor]:
        """Losses as mmdet computes them, which takes one reference; see the base class."""
        num_frames = len(frames_of_clips(clips))
        if num_frames != 2:
            raise ValueError(
                "mmdet's MaskTrack R-CNN trains on clips of a key frame and one reference frame "
                f'(num_refs=1), got {num_frames - 1} reference frames'
            )
        metainfo = dict(key_frames_inds=[0], ref_frames_inds=[1])
        samples = [
            TrackDataSample(video_data_samples=list(clip), metainfo=metainfo) for clip in clips
        ]
        return self.model.loss(inputs.unflatten(0, (-1, num_frames)), samples)

    def encode(self, images: Tensor) -> Tensor:
        """Gives the images: mmdet's class encodes a frame where it segments it."""
        return images

    def init_state(self) -> MMDetState:
        """Makes a tracker of its own for the video; mmdet's tracker changes from frame to frame."""
        return MMDetState(copy.deepcopy(self.model.tracker))

    @torch.no_grad()
    def step(self, frame: Frame, state: MMDetState) -> tuple[Answers, MMDetState]:
        """Segments and associates the next frame; see the base class."""
        self.check_state(state)
        # mmdet's tracker gives some ids twice in a frame; a result file holds one mask for each.
        instances = _best_of_each_id(self.predict(frame, state))
        answer = InstanceData(
            ids=instances.instances_id,
            labels=instances.labels,
            scores=instances.scores,
            bboxes=instances.bboxes,
            masks=FrameMasks.dense(instances.masks),
        )
        return [(frame.number, answer)], state

    def predict(self, frame: Frame, state: MMDetState) -> InstanceData:
        """Instances of a frame as mmdet gives them, whose features are the image.

        The tracker of the state is changed.
        """
        sample = DetDataSample(metainfo=dict(frame.metainfo))
        shared, self.model.tracker = self.model.tracker, state.tracker
        try:
            track_sample = TrackDataSample(video_data_samples=[sample])
            self.model.predict(frame.features[None], [track_sample])
        finally:
            self.model.tracker = shared
        return sample.pred_track_instances

    def float32_outputs(self) -> list[nn.Module]:
        """Those of mmdet's detector, and the embeddings; see the base class."""
        return [*float32_outputs(self.model.detector), self.model.track_head.embed_head]

    def category_counts(self) -> dict[str, int]:
        """Those of the RoI head; see the base class."""
        return category_counts(self.model.detector.roi_head, 'model.detector.roi_head')


def _best_of_each_id(instances: InstanceData) -> InstanceData:
    """Keeps the best scored instance of each id, in the given order."""
    by_score = instances.scores.argsort(descending=True, stable=True)
    # mmdet's tracker makes those of a video's first frame on the CPU.
    instances.instances_id = instances.instances_id.to(by_score.device)
    ids = instances.instances_id[by_score]
    # An instance goes when a better scored one, a column to the left of the diagonal, has its id.
    beaten = (ids[:, None] == ids[None, :]).tril(diagonal=-1).any(dim=1)
    return instances[by_score[~beaten].sort().values]
