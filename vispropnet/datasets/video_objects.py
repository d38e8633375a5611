"""Videos whose objects are given by their first masks, for training and test of segmentors."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import force_full_init
from pycocotools import mask as mask_utils

from vispropnet.datasets.bad_frames import BadFrameError, BadFrames
from vispropnet.datasets.index_masks import VOID
from vispropnet.datasets.randomness import SampleIndex
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError
from vispropnet.registry import DATASETS

# Draws until the first frame of a clip shows an object, which a crop may have lost.
ATTEMPTS = 5


class ClipSampler:
    """Chooses the later frames of a clip, all different, forward or backward in time.

    Args:
        video_lengths: (V,) frames per video; frames of all videos are numbered through.
        count: Frames after the first.

    Attributes:
        max_gap: Frames from one to the next, at most.
    """

    def __init__(self, video_lengths: np.ndarray, count: int) -> None:
        self._ends = np.cumsum(video_lengths)
        self._count = count
        self.max_gap = 1

    def sample(
        self, key_frame: int, generator: np.random.Generator, without: Collection[int] = ()
    ) -> list[int]:
        """Gives the numbers of the later frames.

        Args:
            key_frame: Number of the first frame.
            generator: Source of random choices.
            without: Frames not to be given.

        Raises:
            BadFrameError: if the video has too few frames besides these.
        """
        video = int(np.searchsorted(self._ends, key_frame, side='right'))
        start = int(self._ends[video - 1]) if video else 0
        frames = [one for one in range(start, int(self._ends[video])) if one not in without]
        at = frames.index(key_frame)
        for direction in generator.permutation([1, -1]).tolist():
            room = len(frames) - 1 - at if direction == 1 else at
            if room >= self._count:
                return self._walk(frames, at, direction, room, generator)
        # In the middle of a short video: the nearest on both sides.
        others = sorted(frames, key=lambda one: abs(one - key_frame))[1:]
        if len(others) < self._count:
            raise BadFrameError(
                f'the video of frame {key_frame} has {len(frames)} frames that can be used, a clip '
                f'needs {self._count + 1}'
            )
        return others[: self._count]

    def _walk(
        self,
        frames: Sequence[int],
        at: int,
        direction: int,
        room: int,
        generator: np.random.Generator,
    ) -> list[int]:
        chosen = []
        for left in reversed(range(self._count)):
            gap = int(generator.integers(1, min(self.max_gap, room - left) + 1))
            at, room = at + direction * gap, room - gap
            chosen.append(frames[at])
        return chosen


@DATASETS.register_module()
class VideoObjects(YouTubeVIS):
    """Any YouTube-VIS style file as data of video object segmentation.

    In training a sample is a clip of different frames in temporal order, forward or backward, the
    first of which shows an object. Objects are numbered from 1 in each video. In test mode it is
    one frame, with ``given_objects`` in its ``data_samples``: by number the (H, W) bool masks of
    the objects that the frame is the first to show.

    Args:
        ann_file: As of :class:`~vispropnet.datasets.ytvis.YouTubeVIS`.
        clip_length: Frames of a clip.
        max_gap: Frames from one to the next in a clip, at most: a number, or a curriculum, pairs of
            an epoch and the number from then on.
        per_video: Whether an epoch has one clip of each video, from a frame drawn at random,
            instead of one from each frame.
        with_truth: Whether samples of test mode also have ``index_mask``, the ground truth as of
            :meth:`index_mask`, which validation scores against.
        options: Further arguments of :class:`~vispropnet.datasets.ytvis.YouTubeVIS`.

    Attributes:
        late_objects: Whether objects may come after the first frame, and count from their first.
        skipped_ids: As of :class:`~vispropnet.evaluation.region_contour.SequenceScorer`.
    """

    late_objects = True
    skipped_ids = False

    def __init__(
        self,
        ann_file: str,
        clip_length: int = 3,
        max_gap: int | Sequence[Sequence[int]] = 5,
        per_video: bool = False,
        with_truth: bool = False,
        **options: Any,
    ) -> None:
        gaps = [(0, max_gap)] if isinstance(max_gap, int) else [tuple(one) for one in max_gap]
        if not gaps or gaps[0][0] != 0 or gaps != sorted(gaps) or min(gap for _, gap in gaps) < 1:
            raise UserError(
                f'max_gap must be 1 or more, or pairs (epoch, gap) from 0 on, got {max_gap!r}.'
            )
        if clip_length < 2:
            raise UserError(f'clip_length must be 2 or more, got {clip_length}.')
        self.gaps, self.clip_length = gaps, clip_length
        self.per_video, self.with_truth = per_video, with_truth
        self._names: list[str] = []
        super().__init__(ann_file, **options)

    def _video_frames(self, video: dict, annotations: list[dict], labels: dict) -> list[dict]:
        annotations = [one for one in annotations if not one['iscrowd']]
        if len(annotations) >= VOID:
            raise UserError(
                f'annotation file {self.ann_file}: video {video["id"]} has {len(annotations)} '
                f'objects, at most {VOID - 1} can be told apart.'
            )
        frames = super()._video_frames(video, annotations, labels)
        numbers = {one['id']: number for number, one in enumerate(annotations, 1)}
        known: set[int] = set()
        for frame in frames:
            here = {numbers[one['instance_id']] for one in frame['instances']}
            frame.update(given=sorted(here - known), shows='fault' in frame or bool(here))
            frame['numbers'] = [numbers[one['instance_id']] for one in frame['instances']]
            known |= here
        self._names.append(os.path.dirname(video['file_names'][0]) or str(video['id']))
        return frames

    def _index(self, frames: list[dict], video_lengths: list[int]) -> None:
        self._metainfo.update(late_objects=self.late_objects, skipped_ids=self.skipped_ids)
        self.video_lengths = np.array(video_lengths, dtype=np.int64)
        self._reference_sampler = ClipSampler(self.video_lengths, self.clip_length - 1)
        if len(set(self._names)) < len(self._names):
            self._names = [str(frame['video_id']) for frame in frames if frame['frame_id'] == 0]
        usable = np.repeat(self.video_lengths >= self.clip_length, self.video_lengths)
        usable &= np.array([frame['shows'] for frame in frames], dtype=bool)
        self._samples = np.arange(len(frames)) if self.test_mode else np.flatnonzero(usable)
        ends = np.cumsum(self.video_lengths)
        # Where each video's samples begin.
        self._starts = np.searchsorted(self._samples, np.concatenate([[0], ends]))
        if len(self._samples) == 0:
            raise UserError(
                f'{self.ann_file}: no frame shows an object in a video of {self.clip_length} '
                'frames or more, as clips need.'
            )

    @force_full_init
    def __len__(self) -> int:
        """Number of samples: clips or, in test mode, frames."""
        if self.per_video and not self.test_mode:
            return int(np.count_nonzero(np.diff(self._starts)))
        return len(self._samples)

    def __getitem__(self, index: int) -> dict:
        """Loads a clip or a frame; see the base class."""
        key = getattr(index, 'key', (0, 0, int(index)))
        if self.test_mode:
            return self._test_frame(int(index))
        self._reference_sampler.max_gap = [gap for start, gap in self.gaps if start <= key[1]][-1]
        if self.per_video:
            starts = np.unique(self._starts)[int(index) : int(index) + 2]
            # A stream of its own: the clip's is not to depend on it.
            place = np.random.default_rng((*key, 1)).integers(*starts)
            index = SampleIndex(int(place), key)
        return super().__getitem__(index)

    def _test_frame(self, frame: int) -> dict:
        loaded = super().__getitem__(frame)
        given = self.given_objects(frame)
        sample = loaded['data_samples']
        sample.given_objects = {one: torch.from_numpy(mask) for one, mask in given.items()}
        if self.with_truth:
            sample.index_mask = self.index_mask(frame)
        return loaded

    def _clip(
        self, key_frame: int, generator: np.random.Generator, bad: BadFrames
    ) -> dict[str, list] | None:
        for _ in range(ATTEMPTS):
            clip = super()._clip(key_frame, generator, bad)
            if clip is None or len(clip['data_samples'][0].gt_instances):
                break
        return clip

    @force_full_init
    def videos(self) -> list[tuple[str, range]]:
        """Lists the videos: the name, and the numbers of the frames."""
        ends = np.cumsum(self.video_lengths).tolist()
        lengths = self.video_lengths.tolist()
        return [
            (name, range(end - length, end))
            for name, end, length in zip(self._names, ends, lengths, strict=True)
        ]

    def object_labels(self, frames: range) -> dict[int, int]:
        """Gives the label of each object of a video, by its number."""
        labels: dict[int, int] = {}
        for frame in frames:
            info = self.get_data_info(frame)
            found = (one['bbox_label'] for one in info['instances'])
            labels.update(zip(info['numbers'], found, strict=True))
        return labels

    def missing_truth(self, frames: range) -> int | None:
        """Gives the position of a video's first frame without ground truth; None if all have it."""
        return None

    def index_mask(self, frame: int) -> np.ndarray | None:
        """Draws the ground truth of a frame.

        Returns:
            (H, W) uint8 numbers of objects; where they overlap, the first of them. None where there
            is none.
        """
        info = self.get_data_info(frame)
        ids = np.zeros((info['height'], info['width']), np.uint8)
        for number, one in sorted(
            zip(info['numbers'], info['instances'], strict=True), key=lambda pair: -pair[0]
        ):
            ids[mask_utils.decode(one['mask']).astype(bool)] = number
        return ids

    def given_objects(self, frame: int) -> dict[int, np.ndarray]:
        """Gives the (H, W) bool masks of the objects that a frame is the first to show."""
        given = self.get_data_info(frame)['given']
        ids = self.index_mask(frame) if given else None
        found = {number: ids == number for number in given}
        return {number: mask for number, mask in found.items() if mask.any()}
