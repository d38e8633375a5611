"""Drawn frames with ground truth, and the models of two configs, for whole steps."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional

from benchmarking.inputs import settle_norms
from vispropnet.config import explain_config_errors
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.registry import MODELS


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
        scene = _scene(size, objects, classes, generator)
        for place in range(num_frames):
            # The key frame comes last in time; from the last reference to it are 4 pixels.
            moved = 4 * (num_frames - 1 - place) / (num_frames - 1)
            image, sample = _draw(size, moved, *scene)
            data['inputs'][place].append(image)
            data['data_samples'][place].append(sample)
    return data


def build_model(config: Config, path: str, seed: int) -> VISDetector:
    """Builds the model of a config from the seed, without pretrained weights.

    Args:
        config: Read from ``path``.
        path: For messages.
        seed: Of the weights.

    Raises:
        UserError: if the config has no model, or not one that goes frame by frame.
    """
    if config.get('model') is None:
        raise UserError(f'config {path} has no model.')
    torch.manual_seed(seed)
    with explain_config_errors(path), quiet():
        model = MODELS.build(_without_pretrained(config.model))
        if not isinstance(model, VISDetector):
            raise UserError(
                f'config {path}: model is {type(model).__name__}, which is no VISDetector.'
            )
        model.init_weights()
    return model


def settle_model(model: VISDetector, data: dict) -> None:
    """Sets the running statistics of a model's norms to those of a batch of clips."""
    batch = model.data_preprocessor(data, True)
    model.train()
    settle_norms(model, lambda: model.loss(batch['inputs'], batch['data_samples']))


def share_weights(source: VISDetector, target: VISDetector) -> int:
    """Copies every weight and statistic that another model has too, so that both see the same.

    Args:
        source: Gives them.
        target: Takes them. mmdet's models are held one module deeper.

    Returns:
        How many tensors were shared.
    """
    given = source.state_dict()
    shared = {}
    for key, value in target.state_dict().items():
        found = given.get(key.removeprefix('model.'))
        if found is not None and found.shape == value.shape:
            shared[key] = found
    target.load_state_dict(shared, strict=False)
    return len(shared)


def metainfo_of_frame(size: tuple[int, int], frame: int) -> dict[str, Any]:
    """What a model is told of a frame that is neither resized nor padded.

    Args:
        size: Width and height in pixels.
        frame: Its number.
    """
    shape = size[1], size[0]
    return {
        **dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), shape),
        'scale_factor': (1.0, 1.0),
        'frame_id': frame,
    }


def num_classes(model: VISDetector) -> int:
    """Categories of a model, the fewest that any of its parts has; 1 if it knows none."""
    return min(model.category_counts().values(), default=1)


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
    size: tuple[int, int],
    moved: float,
    background: Tensor,
    boxes: Tensor,
    colours: Tensor,
    labels: Tensor,
) -> tuple[Tensor, DetDataSample]:
    width, height = size
    image, boxes = background.clone(), boxes + moved
    across, down = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (left, top, right, bottom), colour in zip(masks, boxes, colours, strict=True):
        x = (across - (left + right) / 2) / ((right - left) / 2)
        y = (down - (top + bottom) / 2) / ((bottom - top) / 2)
        mask |= x[None, :] ** 2 + y[:, None] ** 2 <= 1
        image[:, mask] = colour[:, None]
    instances = InstanceData(bboxes=boxes, labels=labels, instances_ids=torch.arange(len(boxes)))
    instances.masks = BitmapMasks(masks.numpy().astype('uint8'), height, width)
    sample = DetDataSample(metainfo=metainfo_of_frame(size, 0), gt_instances=instances)
    sample.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
    )
    return image.to(torch.uint8), sample


def _without_pretrained(value: Any) -> Any:
    if isinstance(value, dict):
        return ConfigDict(
            {
                key: _without_pretrained(one)
                for key, one in value.items()
                if not (
                    key == 'init_cfg' and isinstance(one, dict) and one.get('type') == 'Pretrained'
                )
            }
        )
    if isinstance(value, (list, tuple)):
        return type(value)(_without_pretrained(one) for one in value)
    return value
