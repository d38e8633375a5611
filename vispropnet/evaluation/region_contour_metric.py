"""The metric of validation of given objects: J and F, frame by frame."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric

from vispropnet.errors import UserError
from vispropnet.evaluation.region_contour import SequenceScorer, SequenceScores, overall
from vispropnet.evaluation.ytvis_metric import check_videos
from vispropnet.registry import METRICS


def drawn_ids(instances: Mapping[str, Any]) -> np.ndarray:
    """Draws instances into one picture; where they overlap, the later one.

    Args:
        instances: ``ids`` (N,), up to 255, and ``masks`` (N),
            :class:`~vispropnet.models.frame_masks.FrameMasks`.

    Returns:
        (H, W) uint8 ids, 0 where there is none.
    """
    masks = instances['masks']
    ids = np.zeros(masks.size, np.uint8)
    for number, mask in zip(instances['ids'].tolist(), masks.numpy(), strict=True):
        ids[mask] = number
    return ids


@METRICS.register_module()
class RegionContourMetric(BaseMetric):
    """Mean J and F over all objects of a data set whose objects are given.

    Scores are those of :class:`~vispropnet.evaluation.region_contour.SequenceScorer`; the data set
    says which objects count. Masks are scored as they come and not kept.

    Args:
        ann_file: Annotation file of the data, for messages.
        collect_device: As in mmengine's ``BaseMetric``.
        prefix: Put before the names of the metrics, with a slash. 'vos' if None.
    """

    default_prefix = 'vos'

    def __init__(
        self, ann_file: str = '', collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ann_file = ann_file
        self._open: dict[Any, SequenceScorer] = {}
        self._frames: dict[Any, int] = {}  # of open videos, those that came
        self._scores: list[SequenceScores] = []
        self._finished: list[Any] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes in frames, those of a video in order.

        Args:
            data_batch: Not used.
            data_samples: One dict a frame with ``video_id``, ``frame_id``, ``video_length``,
                ``index_mask`` ((H, W) uint8, the truth) and ``pred_instances``, as of
                :func:`drawn_ids`.

        Raises:
            UserError: for a frame without ground truth, or one that should show objects and does
                not.
        """
        for sample in data_samples:
            video, frame = sample['video_id'], int(sample['frame_id'])
            truth = sample.get('index_mask')
            if truth is None:
                raise UserError(
                    f'video {video}: frame {frame} has no ground truth; validation needs it for '
                    'all frames (with_truth=True of the data set).'
                )
            if video not in self._open:
                self._open[video] = self._scorer(sample)
            scorer = self._open[video]
            counts = scorer.next_counts
            scorer.add(truth, drawn_ids(sample['pred_instances']) if counts else None)
            self._frames[video] = self._frames.get(video, 0) + 1
            if self._frames[video] == int(sample['video_length']):
                del self._open[video], self._frames[video]
                self._finished.append(video)
                if scorer.has_scores:
                    self._scores.append(scorer.scores())

    def _scorer(self, sample: Mapping[str, Any]) -> SequenceScorer:
        meta = self.dataset_meta or {}
        late, skipped = meta.get('late_objects', True), meta.get('skipped_ids', False)
        return SequenceScorer(str(sample['video_id']), int(sample['video_length']), late, skipped)

    def evaluate(self, size: int = 0) -> dict[str, float]:
        """Gathers the scores of all ranks, and starts afresh.

        Returns:
            ``J_mean``, ``F_mean`` and ``JF`` with their prefix, the same on all ranks.

        Raises:
            UserError: if no object was given in any video.
            RuntimeError: if a video was left unfinished or came twice.
        """
        try:
            scores, finished, unfinished = zip(
                *all_gather_object((self._scores, self._finished, self._frames)), strict=True
            )
            check_videos([*itertools.chain(*finished)], unfinished)
            # In an order that does not depend on the ranks, nor do the sums then.
            every = sorted(itertools.chain(*scores), key=lambda one: one.name)
            metrics = self.compute_metrics(every)
            return {f'{self.prefix}/{name}': value for name, value in metrics.items()}
        finally:
            self._open, self._frames, self._scores, self._finished = {}, {}, [], []

    def compute_metrics(self, results: Sequence[SequenceScores]) -> dict[str, float]:
        """Averages over all objects of all sequences."""
        if not results:
            where = f' of {self.ann_file}' if self.ann_file else ''
            raise UserError(f'no video{where} gives an object that could be scored.')
        metrics = overall(results)
        return {name: metrics[name] for name in ('J_mean', 'F_mean', 'JF')}
