"""Pictures of the places in other frames of a video that a model reads for a box."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch

from vispropnet.apis.segmentation import segment_video
from vispropnet.apis.segmenter import VideoSegmenter
from vispropnet.engine.inference import encode_frames
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.models.frames import box_scale
from vispropnet.video import FrameSource
from vispropnet.visualization.support import draw_support

Box = Sequence[float]


@torch.no_grad()
def draw_support_places(
    model: VISDetector, source: FrameSource, number: int, box: Box | None = None
) -> np.ndarray:
    """Draws where a model looks, for a box of a frame, in the frames that support it at test.

    Args:
        model: Made by :func:`~vispropnet.apis.models.init_model`.
        source: Opened by :func:`~vispropnet.video.open_source`.
        number: Of the frame among those that come, from 0.
        box: x1, y1, x2, y2 in pixels of the frame; None for that of the detection that scores most.

    Returns:
        (height, width, 3) uint8, BGR: below each other, a part for each of the model's
        :class:`~vispropnet.models.looks.BoxLook`.

    Raises:
        UserError: if there is no such frame or box, no frame supports it, or the model does not
            look at other frames.
    """
    length = sum(1 for _ in source) if source.length is None else source.length
    others = model.supporting_frames(number, length)
    images = _read(source, {number, *others})
    if number not in images:
        raise UserError(f'{source.name} has no frame {number}: it has {length}, counted from 0.')
    others = [one for one in others if one in images]
    if not others:
        raise UserError(
            f'{source.name}: no frame supports frame {number}: the model of this config looks at '
            'single frames, or at frames before the current one.'
        )
    current = images[number]
    box = _best_box(model, source, number) if box is None else _checked(box, current)
    segmenter = VideoSegmenter(model)
    prepared = [segmenter.prepare(images[one]) for one in (number, *others)]
    frame, *support = (
        encode_frames(model, [one['inputs']], [one['data_samples']])[0] for one in prepared
    )
    corners = torch.tensor(box, dtype=torch.float, device=segmenter.device)
    scale = box_scale(frame.metainfo, corners)
    across, down = scale[:2].tolist()
    captions = [f'frame {number}', *(f'frame {one}' for one in others)]
    pictures = [
        draw_support(
            current,
            [images[one] for one in others],
            box,
            (look.places / scale[:2]).cpu().numpy(),
            (look.stride / across, look.stride / down),
            look.title,
            captions,
        )
        for look in model.box_looks(frame, support, corners * scale)
    ]
    return np.concatenate(pictures)


def _read(source: FrameSource, numbers: Collection[int]) -> dict[int, np.ndarray]:
    images = {}
    for number, frame in enumerate(source):
        if number in numbers:
            images[number] = frame.image
        if number == max(numbers):
            break
    return images


def _best_box(model: VISDetector, source: FrameSource, number: int) -> list[float]:
    for place, frame in enumerate(segment_video(model, source, 0.0)):
        if place == number:
            found = frame.instances
            if not len(found):
                raise UserError(f'{source.name}: nothing is found in frame {number}: give a box.')
            return found.boxes[found.scores.argmax()].tolist()
    raise AssertionError('frames come as often as they are asked for')


def _checked(box: Box, image: np.ndarray) -> list[float]:
    (x1, y1, x2, y2), (height, width) = box, image.shape[:2]
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise UserError(
            f'box {x1:g} {y1:g} {x2:g} {y2:g} must be x1 y1 x2 y2 with x1 < x2 <= {width} and '
            f'y1 < y2 <= {height}, the size of the frame.'
        )
    return list(box)
