"""Quality of carried masks by the distance of frames, beside that of masks left where they were."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor
from torch.nn import functional

from vispropnet.errors import UserError
from vispropnet.models.detectors import MaskProp
from vispropnet.models.prop_heads.mask_propagation_head import FrameMaps

# From this value on a pixel belongs to a mask.
THRESHOLD = 0.5


@dataclass(frozen=True)
class Quality:
    """Mean IoU with the truth at one distance.

    Args:
        distance: Frames from the one that the masks are of, either way.
        carried: Of masks that the model carried.
        copied: Of the same masks left where they were.
        count: Pairs of frames that show an object.
    """

    distance: int
    carried: float
    copied: float
    count: int


class _Shown(NamedTuple):
    """A frame and the objects that it shows: ids, true masks (N, H, W) bool, cells (N, h, w)."""

    maps: FrameMaps
    ids: list[int]
    masks: Tensor
    cells: Tensor


@torch.no_grad()
def quality_by_distance(
    model: MaskProp, videos: Iterable[Sequence[dict[str, Any]]], max_distance: int
) -> list[Quality]:
    """Measures how well true masks are carried to the frames around theirs.

    True masks, so that it is a measure of the propagation and not of the detector. Masks are
    compared in pixels of the network's input, in frames that show the object.

    Args:
        model: In evaluation mode.
        videos: Of each its frames in order, as a data set in test mode gives them with a pipeline
            that loads annotations: ``inputs`` and ``data_samples``.
        max_distance: Frames, at most.

    Returns:
        By distance from 0 on, those that occur.

    Raises:
        UserError: if the model carries no masks, or nothing is shown.
    """
    if not isinstance(model, MaskProp):
        raise UserError(
            f'a {type(model).__name__} has no mask propagation head, whose quality could be '
            'measured: take a MaskProp.'
        )
    sums = np.zeros((max_distance + 1, 3))
    for frames in videos:
        recent: deque[_Shown] = deque(maxlen=max_distance + 1)
        for frame in frames:
            recent.append(_shown(model, frame))
            for back, other in enumerate(reversed(recent)):
                sums[back] += _overlaps(model, recent[-1], other)
                if back:
                    sums[back] += _overlaps(model, other, recent[-1])
    if not sums[:, 2].any():
        raise UserError('the videos show no object, so there is no mask to carry.')
    return [
        Quality(distance, carried / count, copied / count, int(count))
        for distance, (carried, copied, count) in enumerate(sums)
        if count
    ]


def annotated_videos(dataset: Any, most: int | None = None) -> Iterator[Iterator[dict[str, Any]]]:
    """Gives the frames of the first videos of a data set in test mode, video by video.

    Args:
        dataset: Has ``video_lengths``, its samples being the frames of all videos in order.
        most: Videos, at most; None for all.
    """
    start = 0
    for length in list(dataset.video_lengths)[:most]:
        yield (dataset[start + at] for at in range(int(length)))
        start += int(length)


def encode_shown(model: MaskProp, frame: dict[str, Any]) -> tuple[Tensor, Tensor, DetDataSample]:
    """Encodes one frame with its truth.

    Args:
        model: The model.
        frame: ``inputs`` and ``data_samples`` of a data set.

    Returns:
        The levels of features, each (1, C, H', W'); the masks (N, H, W) float of 0 and 1 in the
        padded input; and the sample.
    """
    data = dict(inputs=[frame['inputs']], data_samples=[frame['data_samples']])
    data = model.data_preprocessor(data, True)
    (sample,) = data['data_samples']
    masks = torch.from_numpy(sample.gt_instances.masks.masks).to(data['inputs'].device)
    return model.encode(data['inputs']), masks.float(), sample


def _shown(model: MaskProp, frame: dict[str, Any]) -> _Shown:
    levels, masks, sample = encode_shown(model, frame)
    maps = model.prop_head.maps(levels).of(0)
    ids = sample.gt_instances.instances_ids.tolist()
    return _Shown(maps, ids, masks > THRESHOLD, model.prop_head.cells(masks))


def _overlaps(model: MaskProp, source: _Shown, target: _Shown) -> np.ndarray:
    """Sums of the IoU of carried and of copied masks, and their number."""
    places = {one: at for at, one in enumerate(target.ids)}
    pairs = [(at, places[one]) for at, one in enumerate(source.ids) if one in places]
    if not pairs:
        return np.zeros(3)
    carried = model.prop_head.carry(source.maps, source.cells, target.maps)
    rows, columns = (torch.tensor(side, device=carried.device) for side in zip(*pairs, strict=True))
    truth = target.masks[columns]
    size = truth.shape[-2:]
    enlarged = functional.interpolate(
        carried[rows][:, None],
        scale_factor=model.prop_head.stride,
        mode='bilinear',
        align_corners=False,
    )[:, 0, : size[0], : size[1]]
    found = enlarged >= THRESHOLD, source.masks[rows]
    return np.array([*(_iou(one, truth).sum().item() for one in found), len(pairs)])


def _iou(masks: Tensor, others: Tensor) -> Tensor:
    union = (masks | others).sum(dim=(1, 2)).clamp(min=1)
    return (masks & others).sum(dim=(1, 2)) / union
