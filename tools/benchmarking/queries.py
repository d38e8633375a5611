"""mmdet's Mask2Former frame by frame, with its queries matched as MinVIS's authors do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarking.frame_runner import FrameRunner
from vispropnet.models.detectors import MinVIS
from vispropnet.models.detectors.minvis import class_scores
from vispropnet.models.frames import Frame


class PlainQueriesRunner(FrameRunner):
    """A MinVIS whose image model is run by mmdet's own code, one frame at a time.

    That makes the masks of all queries at the frame's size. After the first frame the state is the
    embeddings of the frame before, in the order of the tracks.
    """

    PARTS = {
        'detector.extract_feat': 'backbone and neck',
        'detector.panoptic_head.predict': 'queries',
        'detector.panoptic_fusion_head.predict': 'masks',
    }

    def encode(self, numbers: Sequence[int]) -> list[Frame]:
        """Loads frames; mmdet encodes a frame where it segments it."""
        images, metainfos = self.load(numbers)
        return [Frame(one[None], info) for one, info in zip(images, metainfos, strict=True)]

    @torch.no_grad()
    def step(self, frame: Frame, state: Any) -> tuple[InstanceData, Tensor]:
        """Segments a frame and matches its queries."""
        detector, samples = self.model.detector, [DetDataSample(metainfo=dict(frame.metainfo))]
        norm, seen = detector.panoptic_head.transformer_decoder.post_norm, []
        hook = norm.register_forward_hook(lambda module, given, output: seen.append(output))
        try:
            features = detector.extract_feat(frame.features)
            logits, masks = detector.panoptic_head.predict(features, samples)
        finally:
            hook.remove()
        found = detector.panoptic_fusion_head.predict(logits, masks, samples, rescale=True)
        with self.clock.part('association'):
            embeddings = seen[-1][0] / seen[-1][0].norm(dim=1, keepdim=True)
            if isinstance(state, Tensor):
                cost = 1 - embeddings @ state.t()
                embeddings = embeddings[linear_sum_assignment(cost.cpu().t())[1]]
        return found[0]['ins_results'], embeddings

    def answer(self, frame: Frame, state: Any) -> tuple[InstanceData, Tensor]:
        """Gives the best instances, as many as wanted, with ``rles`` instead of masks."""
        instances, state = self.step(frame, state)
        best = instances.scores.argsort(descending=True)[: self.detections]
        instances = instances[best]
        with self.clock.part('encode'):
            instances.rles = encode_mask_results(instances.masks.cpu().numpy())
        del instances.masks
        return instances, state

    def parts(self, state: Any) -> tuple[Any, dict[str, str]]:
        """See the base class."""
        return self.model, self.PARTS


@torch.no_grad()
def limit_queries(model: MinVIS, image: Tensor, detections: int) -> None:
    """Sets the score threshold of a MinVIS so that so many queries survive in a frame.

    Args:
        model: Whose ``score_threshold`` is set.
        image: (3, H, W) preprocessed frame.
        detections: Queries that survive.
    """
    scores = class_scores(model.encode(image[None])['logits'][0]).amax(dim=1)
    scores = scores.sort(descending=True).values
    # A little lower, so that rounding leaves out none.
    model.score_threshold = scores[min(detections, len(scores)) - 1].item() - 1e-6
    test_cfg = model.detector.panoptic_fusion_head.test_cfg
    pairs = len(scores) * model.detector.panoptic_head.num_things_classes
    test_cfg.max_per_image = min(test_cfg.max_per_image, pairs)
