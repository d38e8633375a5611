"""The metric of validation and test runs: gathers tracks, writes the result file, scores them."""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_world_size,
    is_main_process,
)
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import MAIN_METRICS, evaluate_tracks
from vispropnet.evaluation.ground_truth import GroundTruth, read_ground_truth
from vispropnet.evaluation.result_file import check_writable, write_results
from vispropnet.evaluation.tracks import TrackAccumulator, TrackStore
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.registry import METRICS


@METRICS.register_module()
class YouTubeVISMetric(BaseMetric):
    """Average precision of tracks against an annotation file, and the official result file.

    Tracks are always scored against the annotation file itself, never against what a data pipeline
    made of it, so that the numbers are those of scoring the result file later.

    Args:
        ann_file: Annotation file in YouTube-VIS form. Read only if ``evaluate``.
        outfile: Result file (``*.json``) to write at each evaluation; an archive ready to upload is
            put beside it. None writes nothing.
        evaluate: Whether to score. If not, the tracks are only written.
        annotated_only: Whether only frames count that show an object; for files of which not all
            frames are annotated, and that do not list them under ``annotated_frames``.
        collect_device: As in mmengine's ``BaseMetric``. Results are always gathered as pickled
            objects over the default process group, because mmengine's own ways lose results when
            ranks hold unequally many.
        prefix: Put before the names of the metrics, with a slash. 'ytvis' if None.

    Raises:
        UserError: if the annotation file is missing or has nothing to score against, or the result
            file could not be written.
    """

    default_prefix = 'ytvis'

    def __init__(
        self,
        ann_file: str,
        outfile: str | None = None,
        evaluate: bool = True,
        annotated_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ann_file = os.fspath(ann_file)
        self.outfile = None if outfile is None else os.fspath(outfile)
        self.scores_tracks, self.annotated_only = evaluate, annotated_only
        if self.outfile is not None:
            check_writable(self.outfile)
        if self.scores_tracks:
            self._read_truth()  # now, not after hours; read again when it is needed
        self._open: dict[int, TrackAccumulator] = {}
        self._frames: Counter[int] = Counter()  # of open videos, those that came
        self._tracks = TrackStore()
        self._finished: list[int] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes in frames; when the last one of a video came, its tracks leave memory.

        The frames of a video come in order and on one rank; those of several videos may be mixed.

        Args:
            data_batch: Not used.
            data_samples: One dict a frame with ``video_id``, ``frame_id`` (position in the video,
                from 0), ``video_length``, ``category_ids`` (category id of each label index, None
                for categories that the file does not have) and
                ``pred_instances``: ``ids``, ``labels``, ``scores`` and, if the model propagates
                masks, ``propagated``, each (N,); and ``masks`` at the original size of the frame,
                :class:`~vispropnet.models.frame_masks.FrameMasks` or (N, H, W) bool. That of a
                video's last frame may have ``track_scores``, the model's own
                :class:`~vispropnet.models.frames.TrackScores` of the video.
        """
        for sample in data_samples:
            video_id, frame_id = sample['video_id'], int(sample['frame_id'])
            length = int(sample['video_length'])
            tracks = self._open.setdefault(video_id, TrackAccumulator())
            assert frame_id == self._frames[video_id], (
                f'video {video_id}: frames must come in order, expected {self._frames[video_id]} '
                f'of {length}, got {frame_id}'
            )
            instances = sample['pred_instances']
            masks = instances['masks']
            if not isinstance(masks, FrameMasks):
                masks = FrameMasks.dense(masks)
            tracks.add_frame(
                frame_id,
                instances['ids'],
                instances['labels'],
                instances['scores'],
                masks.rles(),
                instances.get('propagated'),
            )
            self._frames[video_id] += 1
            if self._frames[video_id] == length:
                del self._open[video_id], self._frames[video_id]
                self._finished.append(video_id)
                ids, scores = sample['category_ids'], sample.get('track_scores')
                self._tracks.extend(tracks.results(video_id, length, ids, scores))

    def evaluate(self, size: int = 0) -> dict[str, float]:
        """Gathers the tracks of all ranks, writes and scores them, and starts afresh.

        Returns:
            The metrics with their prefix, the same on all ranks; empty if nothing is to be scored.

        Raises:
            UserError: on all ranks, if the main rank met one.
            RuntimeError: on all ranks, if a video was left unfinished or came twice; on the other
                ranks, if the main rank met an error.
        """
        try:
            finished, unfinished = zip(
                *all_gather_object((self._finished, dict(self._frames))), strict=True
            )
            self._finished = list(itertools.chain.from_iterable(finished))
            check_videos(self._finished, unfinished)
            self._tracks = _gather_tracks(self._tracks)
            return self._evaluate_on_main_rank()
        finally:
            self._tracks = TrackStore()
            self._finished = []
            self._open.clear()
            self._frames.clear()

    def compute_metrics(self, results: TrackStore) -> dict[str, float]:
        """Writes the result file and scores the tracks of all ranks.

        Returns:
            ``mAP, AP50, AP75, AR1, AR10``; empty if the tracks are not to be scored.

        Raises:
            UserError: if the annotation file has nothing to score against, or does not fit.
        """
        propagated = results.propagated()
        some = f', {propagated} of their masks propagated' if propagated else ''
        print_log(f'{len(results)} tracks{some}', logger='current')
        if self.outfile is not None:
            write_results(self.outfile, results)
        if not self.scores_tracks:
            return {}
        truth = self._read_truth()
        missing = truth.video_index.keys() - set(self._finished)
        if missing:
            print_log(
                f'{len(missing)} of {len(truth.videos)} videos of {self.ann_file} were '
                'not processed; their objects count as missed.',
                logger='current',
                level=logging.WARNING,
            )
        metrics = evaluate_tracks(truth, results)
        return {name: metrics[name] for name in MAIN_METRICS}

    def _read_truth(self) -> GroundTruth:
        # Where the data set leaves categories out or joins some, so does the score.
        counted = (self.dataset_meta or {}).get('scored_categories')
        truth = read_ground_truth(self.ann_file, self.annotated_only, counted)
        for note in truth.notes:
            print_log(f'annotation file {self.ann_file}: {note}.', 'current', logging.WARNING)
        return truth

    def _evaluate_on_main_rank(self) -> dict[str, float]:
        """Scores on the main rank; every rank gets its metrics or its error, so that none hangs."""
        outcome: list[Any] = [None]
        failure: Exception | None = None
        if is_main_process():
            try:
                metrics = self.compute_metrics(self._tracks)
                outcome[0] = {f'{self.prefix}/{name}': value for name, value in metrics.items()}
            except UserError as error:
                failure, outcome[0] = error, UserError(str(error))
            except Exception as error:  # raised below, once the others know of it
                failure = error
                outcome[0] = RuntimeError(f'evaluation failed on the main rank: {error}')
        broadcast_object_list(outcome)
        if failure is not None:
            raise failure
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]


def _gather_tracks(tracks: TrackStore) -> TrackStore:
    """Brings the tracks of all ranks to the main rank, some at a time; others get none."""
    if get_world_size() == 1:
        return tracks
    gathered, batches = TrackStore(), _batches(tracks)
    while any(parts := all_gather_object(next(batches, []))):
        if is_main_process():
            gathered.extend(itertools.chain.from_iterable(parts))
    return gathered


def _batches(tracks: TrackStore) -> Iterator[list[dict]]:
    """The entries by about 10,000 frames; the last list may be empty."""
    batch, frames = [], 0
    for entry in tracks:
        batch.append(entry)
        frames += len(entry['segmentations'])
        if frames >= 10_000:
            yield batch
            batch, frames = [], 0
    yield batch


def check_videos(finished: Sequence[Any], unfinished: Sequence[dict[Any, int]]) -> None:
    """Checks the videos of all ranks, the unfinished ones with the number of frames that came.

    Raises:
        RuntimeError: if one was left unfinished, or processed more than once.
    """
    for rank, videos in enumerate(unfinished):
        for video_id, frames in videos.items():
            raise RuntimeError(
                f'video {video_id} was left unfinished on rank {rank}: only its first {frames} '
                'frames were processed before the evaluation'
            )
    twice = [video_id for video_id, count in Counter(finished).items() if count > 1]
    if twice:
        raise RuntimeError(
            f'videos {twice[:10]} were processed more than once in one evaluation; the sampler '
            'must give each video to one rank, and pad none'
        )
