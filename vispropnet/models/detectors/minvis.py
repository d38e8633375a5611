"""MinVIS (Huang, Yu and Anandkumar, NeurIPS 2022): Mask2Former, its queries matched in time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.models.dense_heads import Mask2FormerHead
from mmengine.structures import InstanceData
from torch import Tensor, nn

from vispropnet.models.base import Clips, VISDetector
from vispropnet.models.detectors.mask2former_files import explain_misfit
from vispropnet.models.frames import Answers, Frame, FrameSize, TrackScores
from vispropnet.models.map_masks import full_size_masks
from vispropnet.models.trackers import cosine_similarities, match_queries
from vispropnet.ops.transfer import to_device
from vispropnet.registry import MODELS

# Of a frame, with a first axis of frames: class logits (F, Q, K + 1), the last for "no object";
# embeddings (F, Q, C); mask logits (F, Q, h, w).
Queries = Mapping[str, Tensor]


@dataclass(frozen=True)
class MinVISState:
    """State of a video in MinVIS; never changed, each frame makes a new one.

    The queries of the first frame are the tracks; Q of them, whatever is seen later.

    Args:
        embeddings: (Q, C) of the frame before, in the order of the tracks; None before the first.
        logit_sums: (Q, K + 1) class logits of the tracks, summed over the frames; on the CPU.
        num_frames: Frames seen so far.
        frame_size: Height and width of the original frames; None before the first.
    """

    embeddings: Tensor | None = None
    logit_sums: Tensor | None = None
    num_frames: int = 0
    frame_size: FrameSize | None = None


@MODELS.register_module()
class MinVIS(VISDetector):
    """An image model whose queries are matched from frame to frame.

    Trained on single frames. At test, each query of a frame takes over the track of one query of
    the frame before, so that the sum of the cosine similarities of their embeddings is largest
    (section 3.2). A track's classes are those of its logits, averaged over the video.

    Args:
        detector: Config of mmdet's ``Mask2Former``, for objects only (no stuff).
        num_classes: Number of categories, in place of those that stand in ``detector``; None leaves
            them.
        score_threshold: A track is in a frame if its best class scores at least this, in the frame
            or on average over the video so far. Masks of others are not made.
        max_tracks: Pairs of a track and a category that a video has at most, the best ones.
        data_preprocessor: Config of the preprocessing.
        init_cfg: Initialisation, as in mmengine.

    Raises:
        ValueError: for a detector of another kind or with stuff, and numbers out of range.
    """

    state_type = MinVISState
    plain_weights = 'detector'

    def __init__(
        self,
        detector: dict,
        num_classes: int | None = None,
        score_threshold: float = 0.05,
        max_tracks: int = 100,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if not 0 <= score_threshold <= 1:
            raise ValueError(f'score_threshold must be from 0 to 1, got {score_threshold!r}')
        if type(max_tracks) is not int or max_tracks < 1:
            raise ValueError(f'max_tracks must be a whole number of 1 or more, got {max_tracks!r}')
        self.detector = MODELS.build(_with_classes(detector, num_classes))
        head = getattr(self.detector, 'panoptic_head', None)
        if not isinstance(head, Mask2FormerHead):
            raise ValueError(
                "detector must be mmdet's Mask2Former with a Mask2FormerHead, got a "
                f'{type(self.detector).__name__} with a {type(head).__name__}'
            )
        if head.num_stuff_classes:
            raise ValueError(
                'detector.panoptic_head: num_stuff_classes must be 0 (objects are tracked, stuff '
                f'is not), got {head.num_stuff_classes}'
            )
        self.score_threshold = score_threshold
        self.max_tracks = max_tracks

    def loss(self, inputs: Tensor, clips: Clips) -> dict[str, Tensor]:
        """Losses of Mask2Former on all frames of the clips, each by itself; see the base class."""
        return self.detector.loss(inputs, [sample for clip in clips for sample in clip])

    def encode(self, images: Tensor) -> Queries:
        """Runs the image model: class logits, embeddings and mask logits of each frame's queries.

        Args:
            images: (F, 3, H, W).

        Returns:
            ``logits`` (F, Q, K + 1), ``embeddings`` (F, Q, C), ``masks`` (F, Q, h, w).
        """
        return self.find_queries(self.detector.extract_feat(images))

    def init_state(self) -> MinVISState:
        """Makes the state of a video before its first frame."""
        return MinVISState()

    @torch.no_grad()
    def step(self, frame: Frame, state: MinVISState) -> tuple[Answers, MinVISState]:
        """Matches the queries of the next frame and draws those that show objects."""
        self.check_state(state)
        size = frame.size_after(state.frame_size)
        logits, embeddings, masks = (
            frame.features[name][0] for name in ('logits', 'embeddings', 'masks')
        )
        order, logits = self.associate(embeddings, logits, state.embeddings)
        sums = logits if state.logit_sums is None else state.logit_sums + logits
        there = to_device(order, embeddings.device)
        state = MinVISState(embeddings[there], sums, state.num_frames + 1, size)
        found = self.select(logits, sums / state.num_frames)
        chosen = to_device(order[found.ids], masks.device)
        instances = self.segment(masks[chosen], found, frame.metainfo)
        return [(frame.number, instances)], state

    def track_scores(self, state: MinVISState) -> TrackScores:
        """Gives the best pairs of a track and a category, from the averaged logits (section 3.2).

        Args:
            state: After the last frame.
        """
        if state.logit_sums is None:
            none = torch.zeros(0, dtype=torch.long)
            return TrackScores(none, none, torch.zeros(0))
        scores = class_scores(state.logit_sums / state.num_frames)
        best, pairs = scores.flatten().sort(descending=True, stable=True)
        pairs, best = pairs[: self.max_tracks], best[: self.max_tracks]
        count = scores.shape[1]
        return TrackScores(pairs // count, pairs % count, best)

    # Stages

    def find_queries(self, features: Sequence[Tensor]) -> Queries:
        """Runs pixel decoder and transformer decoder on the backbone's features, as :meth:`encode`.

        Args:
            features: Per level (F, C, H', W').
        """
        head = _LastLayer(self.detector.panoptic_head)
        type(self.detector.panoptic_head).forward(head, features, None)
        return head.queries

    def associate(
        self, embeddings: Tensor, logits: Tensor, previous: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Matches the queries of a frame with the tracks.

        Args:
            embeddings: (Q, C).
            logits: (Q, K + 1).
            previous: (Q, C) of the frame before, in the order of the tracks; None for the first.

        Returns:
            (Q,) int64, the query of each track, and (Q, K + 1) float32, its logits; both on the
            CPU.
        """
        logits = logits.float()
        if previous is None:
            return torch.arange(len(logits)), logits.cpu()
        # One copy to the host for both.
        table = torch.cat([cosine_similarities(previous, embeddings), logits], dim=1).cpu()
        order = match_queries(table[:, : len(logits)])
        return order, table[order, len(logits) :]

    def select(self, logits: Tensor, averages: Tensor) -> InstanceData:
        """Chooses the tracks that a frame shows, with their best class in it.

        Args:
            logits: (Q, K + 1) of the tracks in this frame, on the CPU.
            averages: The same on average over the video so far.

        Returns:
            ``ids``, ``labels`` and ``scores`` of N tracks, on the CPU.
        """
        scores, labels = class_scores(logits).max(dim=1)
        average = class_scores(averages).amax(dim=1)
        ids = (torch.maximum(scores, average) >= self.score_threshold).nonzero().flatten()
        return InstanceData(ids=ids, labels=labels[ids], scores=scores[ids])

    def segment(
        self, masks: Tensor, found: InstanceData, metainfo: Mapping[str, Any]
    ) -> InstanceData:
        """Draws masks at the original size, on the device; tracks without any pixel are left out.

        Args:
            masks: (N, h, w) mask logits.
            found: ``ids``, ``labels`` and ``scores`` of the N tracks, on the CPU.
            metainfo: The frame's.
        """
        drawn = full_size_masks(masks, metainfo)
        boxes = torch.tensor(
            [
                [one.left, one.top, one.left + one.width, one.top + one.height]
                for one in drawn.windows()
            ],
            dtype=torch.float32,
        ).reshape(-1, 4)
        visible = (boxes[:, 2] > boxes[:, 0]).nonzero().flatten()
        found = found[visible]
        instances = InstanceData(bboxes=to_device(boxes[visible], masks.device))
        for name in ('ids', 'labels', 'scores'):
            instances[name] = to_device(found[name], masks.device)
        instances.masks = drawn[visible]
        return instances

    def float32_outputs(self) -> list[nn.Module]:
        """Values of deformable attention, which sums them up in float32; see the base class."""
        modules = self.detector.panoptic_head.modules()
        return [one.value_proj for one in modules if isinstance(one, MultiScaleDeformableAttention)]

    def category_counts(self) -> dict[str, int]:
        """That of the head; see the base class."""
        return {'detector.panoptic_head': self.detector.panoptic_head.num_things_classes}

    def explain_misfit(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """Names files of panoptic segmentation, of other numbers and of other frameworks."""
        own = {key: tuple(value.shape) for key, value in self.detector.state_dict().items()}
        return explain_misfit(shapes, own)


def class_scores(logits: Tensor) -> Tensor:
    """Probabilities of the classes without "no object": (Q, K + 1) logits to (Q, K)."""
    return logits.softmax(dim=1)[:, :-1]


class _LastLayer:
    """A head of Mask2Former for one pass, of which the outputs of the last layer alone are kept.

    The head's own ``forward`` runs on it; it is made anew for each pass, so that several threads
    can share a model.
    """

    queries: Queries

    def __init__(self, head: Mask2FormerHead) -> None:
        self._head = head

    def __getattr__(self, name: str) -> Any:
        return getattr(self._head, name)

    def _forward_head(
        self, decoder_out: Tensor, mask_feature: Tensor, size: tuple[int, int]
    ) -> tuple[None, None, Tensor]:
        logits, masks, attention = self._head._forward_head(decoder_out, mask_feature, size)
        embeddings = self._head.transformer_decoder.post_norm(decoder_out)
        self.queries = dict(logits=logits, embeddings=embeddings, masks=masks)
        return None, None, attention


def _with_classes(detector: dict, count: int | None) -> dict:
    """Sets the number of classes of a Mask2Former, which stands in three places."""
    if count is None:
        return detector
    detector = copy.deepcopy(detector)
    head, fusion = detector['panoptic_head'], detector['panoptic_fusion_head']
    for part in (head, fusion):
        part.update(num_things_classes=count, num_stuff_classes=0)
    # The last weight is that of "no object".
    weights = head['loss_cls']['class_weight']
    head['loss_cls']['class_weight'] = [1.0] * count + [weights[-1]]
    return detector
