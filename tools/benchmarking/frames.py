"""Drawn frames, with and without ground truth."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional


def draw_clips(
    size: tuple[int, int],
    batch_size: int,
    objects: int,
    classes: int,
    seed: int,
    num_frames: int = 2,
) -> dict[str, list[list]]:
    """Clips as a data loader gives them: ellipses that move before a smooth background.

    Args:
        size: Width and height in pixels.
        batch_size: Clips.
        objects: In each frame.
        classes: Categories.
        seed: Of everything.
        num_frames: T of a clip, at least 2.

    Returns:
        ``inputs``: for each of T positions a list of (3, H, W) uint8, the key frames first;
        ``data_samples``: the same of ground truth with boxes, labels, ids and masks.
    """
    generator = torch.Generator().manual_seed(seed)
    data = {name: [[] for _ in range(num_frames)] for name in ('inputs', 'data_samples')}
    for _ in range(batch_size):
        background, boxes, *looks = _scene(size, objects, classes, generator)
        for place in range(num_frames):
            # The key frame comes last in time; from the last reference to it are 4 pixels.
            moved = 4 * (num_frames - 1 - place) / (num_frames - 1)
            image, sample = _draw(background, boxes + moved, *looks)
            data['inputs'][place].append(image)
            data['data_samples'][place].append(sample)
    return data


def draw_frame(index: int, size: tuple[int, int]) -> np.ndarray:
    """Draws a frame of a video of any length: ellipses that move before a smooth background.

    Args:
        index: Of the frame.
        size: Width and height in pixels.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    width, height = size
    coarse = np.random.default_rng(0).integers(40, 160, (5, 8, 3), dtype=np.uint8)
    frame = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    for number in range(6):
        phase = index * (0.02 + 0.007 * number) + 2.1 * number
        centre = (
            round(width * (0.5 + 0.4 * np.sin(phase))),
            round(height * (0.5 + 0.4 * np.cos(0.7 * phase))),
        )
        axes = round(width * (0.04 + 0.02 * number)), round(height * 0.12)
        color = (40 * number, 255 - 30 * number, 128 + 20 * number)
        cv2.ellipse(frame, centre, axes, 30 * number, 0, 360, color, cv2.FILLED)
    return frame


def _scene(
    size: tuple[int, int], objects: int, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Background (3, H, W), and each object's box (N, 4), colour (N, 3) and label (N,)."""
    width, height = size
    grid = torch.rand(1, 3, height // 16 + 1, width // 16 + 1, generator=generator) * 255
    background = functional.interpolate(
        grid, size=(height, width), mode='bilinear', align_corners=False
    )[0]
    sides = (torch.rand(objects, 2, generator=generator) * 0.3 + 0.15) * torch.tensor(size)
    corner = torch.rand(objects, 2, generator=generator) * (torch.tensor(size) - sides - 4)
    boxes = torch.cat([corner, corner + sides], dim=1).round()
    colours = torch.rand(objects, 3, generator=generator) * 255
    return background, boxes, colours, torch.randint(classes, (objects,), generator=generator)


def _draw(
    background: Tensor, boxes: Tensor, colours: Tensor, labels: Tensor
) -> tuple[Tensor, DetDataSample]:
    image = background.clone()
    height, width = image.shape[1:]
    across, down = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (left, top, right, bottom), colour in zip(masks, boxes, colours, strict=True):
        x = (across - (left + right) / 2) / ((right - left) / 2)
        y = (down - (top + bottom) / 2) / ((bottom - top) / 2)
        mask |= x[None, :] ** 2 + y[:, None] ** 2 <= 1
        image[:, mask] = colour[:, None]
    instances = InstanceData(bboxes=boxes, labels=labels, instances_ids=torch.arange(len(boxes)))
    instances.masks = BitmapMasks(masks.numpy().astype('uint8'), height, width)
    # Neither resized nor padded.
    shapes = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    metainfo = dict.fromkeys(shapes, (height, width)) | dict(scale_factor=(1.0, 1.0), frame_id=0)
    sample = DetDataSample(metainfo=metainfo, gt_instances=instances)
    sample.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
    )
    return image.to(torch.uint8), sample
