"""Clips made of one frame, moved at random, for training of detectors beside real videos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform, Compose

from vispropnet.datasets.bad_frames import BadFrameError, BadFrames
from vispropnet.datasets.randomness import global_seed
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.registry import DATASETS, TRANSFORMS

# Place of a frame in its clip, in what the pipeline gets.
PLACE = 'clip_place'
# Draws until the key frame shows an object, which a crop may have lost.
_ATTEMPTS = 5


@TRANSFORMS.register_module()
class EachFrame(BaseTransform):
    """Transforms that are drawn anew for each frame of a clip; all others are drawn once a clip.

    Args:
        transforms: Configs of the transforms.
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        self.transforms = Compose([TRANSFORMS.build(one) for one in transforms])

    def transform(self, results: dict) -> dict | None:
        """Draws from a stream of the clip and the place that the results name (0 without one)."""
        # Drawn in all frames alike, so that what follows is the same.
        clip = int(np.random.randint(2**31))  # noqa: NPY002 (seeded for each sample)
        stream = np.random.SeedSequence([clip, results.get(PLACE, 0)])
        with global_seed(int(stream.generate_state(1)[0])):
            return self.transforms(results)


@DATASETS.register_module()
class PseudoVideos(YouTubeVIS):
    """Images as videos: a clip is one frame several times, its objects under the same ids.

    The pipeline makes motion of it: transforms in :class:`EachFrame`, such as
    ``RandomObjectAffine`` or a crop, differ from frame to frame. The data are in the YouTube-VIS
    form, such as ``tools/convert_data.py coco`` makes of still images; of longer videos each frame
    is a clip of its own. Arguments are those of :class:`~vispropnet.datasets.ytvis.YouTubeVIS`;
    ``num_refs`` says how many frames follow the key frame.
    """

    def _clip(
        self, key_frame: int, generator: np.random.Generator, bad: BadFrames
    ) -> dict[str, list] | None:
        for _ in range(_ATTEMPTS):
            seed = int(generator.integers(2**32))
            clip = []
            for place in range(1 + self._reference_sampler.num_refs):
                try:
                    with global_seed(seed):
                        clip.append(self.pipeline({**self.get_data_info(key_frame), PLACE: place}))
                except BadFrameError as error:
                    bad.add(key_frame, error)
                    return None
            if len(clip[0]['data_samples'].gt_instances):
                break
        return {name: [one[name] for one in clip] for name in clip[0]}
