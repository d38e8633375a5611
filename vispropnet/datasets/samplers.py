"""The order in which samples are drawn, and who draws them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from vispropnet.datasets.randomness import SampleIndex
from vispropnet.positions import evenly
from vispropnet.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """mmengine's epoch sampler whose indices carry (seed, epoch, sample).

    The arguments are those of ``mmengine.dataset.DefaultSampler``.

    Attributes:
        skip: How many of this rank's indices the coming epoch leaves out at its beginning; once.
    """

    skip = 0

    def __iter__(self) -> Iterator[SampleIndex]:
        """Yields this rank's indices of the epoch, each with its randomness key."""
        skip, self.skip = self.skip, 0
        for index in itertools.islice(super().__iter__(), skip, None):
            yield SampleIndex(index, (int(self.seed), int(self.epoch), int(index)))


@DATA_SAMPLERS.register_module()
class VideoSampler(Sampler):
    """Frames in order, whole videos to each rank, for validation and test.

    A tracker carries state from frame to frame, so a video must not be split over ranks. Videos go,
    longest first, to the rank with the fewest frames so far; each rank takes its own in file order.

    Args:
        dataset: Has ``video_lengths``: frames per video, the data set's samples being the frames of
            all videos in order.
        seed: Unused; samplers are built with it.

    Attributes:
        overview: How many frames, spread evenly over a video, come before its first one as well.
    """

    overview = 0

    def __init__(self, dataset, seed: int | None = None) -> None:
        rank, world_size = get_dist_info()
        lengths = np.asarray(dataset.video_lengths, dtype=np.int64)
        videos = share_videos(lengths, world_size)[rank]
        starts = np.cumsum(lengths) - lengths
        # Number of the first frame, and of frames, of each video.
        self._videos = [(int(starts[video]), int(lengths[video])) for video in videos]

    def __iter__(self) -> Iterator[int]:
        """Yields this rank's frames."""
        for start, length in self._videos:
            for frame in itertools.chain(evenly(length, self.overview), range(length)):
                yield start + frame

    def __len__(self) -> int:
        """Number of frames that this rank draws."""
        return sum(length + min(length, self.overview) for _, length in self._videos)


def share_videos(lengths: np.ndarray, shares: int) -> list[list[int]]:
    """Splits videos, of (V,) lengths in frames, into shares of about the same number of frames.

    Returns:
        Per share its videos' indices, ascending; empty where there are fewer videos than shares.
    """
    parts: list[list[int]] = [[] for _ in range(shares)]
    loads = [0] * shares
    for video in np.argsort(-np.asarray(lengths), kind='stable'):
        lightest = loads.index(min(loads))
        parts[lightest].append(int(video))
        loads[lightest] += int(lengths[video])
    return [sorted(part) for part in parts]
