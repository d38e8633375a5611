"""One frame of a video on its way through a model, and the answers that a model gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional

from vispropnet.errors import UserError
from vispropnet.ops.transfer import to_device

# Instances of frames, each with its frame's number.
Answers = list[tuple[int, InstanceData]]
FrameSize = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """One frame of a video, encoded.

    Args:
        features: What ``encode`` gave of it, with a first axis of one frame.
        metainfo: ``frame_id``: its number in the video, from 0; ``img_shape``, ``ori_shape``:
            (height, width) before padding, and of the original frame; ``scale_factor``: (x, y)
            network pixels per pixel of the original frame.
        objects: For models that take them, (H, W) bool masks of given objects at the original
            size, by id.
    """

    features: Any
    metainfo: Mapping[str, Any]
    objects: Mapping[int, Tensor] | None = None

    @property
    def number(self) -> int:
        """Its number in the video, from 0."""
        return int(self.metainfo['frame_id'])

    def with_objects(self, objects: Mapping[int, Tensor]) -> Frame:
        """Gives the frame with given objects, as the argument of the class."""
        return replace(self, objects=objects)

    def size_after(self, before: FrameSize | None) -> FrameSize:
        """Height and width of the original frame, which must be those of the frames before it.

        Args:
            before: Height and width of the original frames before; None for the first frame.

        Raises:
            UserError: if they differ: boxes and features of one size say nothing about frames of
                another.
        """
        size = tuple(int(side) for side in self.metainfo['ori_shape'][:2])
        if before is not None and size != before:
            raise UserError(
                f'{place_of(self.metainfo)} has {size[1]}x{size[0]} pixels, the frames before it '
                f'have {before[1]}x{before[0]}. The frames of a video must have one size: scale '
                'them, or begin a new video (a new state) here.'
            )
        return size


@dataclass(frozen=True)
class TrackScores:
    """Categories of a video's tracks, each with its score.

    A track may have several categories: each is an entry of the result file.

    Args:
        ids: (P,) int64, on the CPU as the others.
        labels: (P,) int64; no pair of id and label comes twice.
        scores: (P,) in [0, 1].
    """

    ids: Tensor
    labels: Tensor
    scores: Tensor

    def above(self, threshold: float) -> TrackScores:
        """Leaves out what scores less than a threshold, but keeps the best category of each track.

        Args:
            threshold: In [0, 1].
        """
        by_score = self.scores.argsort(descending=True, stable=True)
        ids = self.ids[by_score]
        # A category goes where a better one, to the left of the diagonal, is of the same track.
        others = (ids[:, None] == ids[None, :]).tril(diagonal=-1).any(dim=1)
        kept = by_score[~others | (self.scores[by_score] >= threshold)]
        return TrackScores(self.ids[kept], self.labels[kept], self.scores[kept])


def place_of(metainfo: Mapping[str, Any]) -> str:
    """Names a frame for a message, by its number and, if it is known, its video's id."""
    place = f'frame {metainfo.get("frame_id", "?")}'
    return f'{place} of video {metainfo["video_id"]}' if 'video_id' in metainfo else place


def split_frames(features: Any, metainfos: Sequence[Mapping[str, Any]]) -> list[Frame]:
    """Splits features of several frames.

    Args:
        features: What ``encode`` gave of F frames: a tensor whose first axis is the frames, or
            tuples, lists and dicts of such.
        metainfos: F of the frames.

    Raises:
        ValueError: if the features are of another number of frames.
    """
    return [
        Frame(_only(features, index, len(metainfos)), metainfo)
        for index, metainfo in enumerate(metainfos)
    ]


def _only(features: Any, index: int, count: int) -> Any:
    if isinstance(features, Tensor):
        if len(features) != count:
            raise ValueError(
                f'expected features of {count} frames, got {len(features)} (a tensor of shape '
                f'{tuple(features.shape)})'
            )
        return features[index : index + 1]
    if isinstance(features, Mapping):
        return {name: _only(one, index, count) for name, one in features.items()}
    return tuple(_only(one, index, count) for one in features)


def box_scale(metainfo: Mapping[str, Any], boxes: Tensor) -> Tensor:
    """Factors (4,), from pixels of the original frame to those of the network's input.

    Args:
        metainfo: ``scale_factor`` of the frame, (x, y).
        boxes: Boxes to be scaled, for their type and device.
    """
    scale = torch.tensor(metainfo['scale_factor'], dtype=boxes.dtype).repeat(2)
    return to_device(scale, boxes.device)


def enlarge_masks(probabilities: Tensor, metainfo: Mapping[str, Any], threshold: float) -> Tensor:
    """Masks of the original frame, of those in the network's input.

    Args:
        probabilities: (N, H', W') in [0, 1], padding included.
        metainfo: ``img_shape`` and ``ori_shape`` of the frame.
        threshold: A pixel belongs to the mask if its value is above.

    Returns:
        (N, H, W) bool.
    """
    size = [int(side) for side in metainfo['ori_shape'][:2]]
    height, width = (int(side) for side in metainfo['img_shape'][:2])
    # One by one: at the size of the frame, all at once would be many.
    resized = (
        functional.interpolate(one[None, None], size=size, mode='bilinear', align_corners=False)[0]
        for one in probabilities[:, :height, :width]
    )
    none = torch.zeros(0, *size, dtype=torch.bool, device=probabilities.device)
    return torch.cat([none, *(one > threshold for one in resized)])
