"""From mask logits to run-length encoded masks of the frame's size, beside mmdet's way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import mmdet
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.structures.mask import encode_mask_results
from mmengine.config import ConfigDict
from pycocotools import mask as mask_utils
from torch import Tensor
from torch.nn import functional

from benchmarking.checks import check_device, check_positive
from benchmarking.measure import Variant, circumstances, compare, report
from vispropnet.errors import UserError
from vispropnet.models.frame_masks import FrameMasks

BASELINE = "mmdet's FCNMaskHead (paste at the frame's size) and encode_mask_results"
THRESHOLD = 0.5
CATEGORIES = 40
# Cells of a drawn mask: as smooth as what a mask head gives.
_COARSE = 5


@dataclass(frozen=True)
class Settings:
    """What is made.

    Args:
        detections: In the frame.
        size: Width and height of the frame in pixels.
        sides: Shortest and longest side of a box, as part of the frame's.
        seed: Of the inputs.
        device: Where the logits are.
    """

    detections: int = 100
    size: tuple[int, int] = (1280, 720)
    sides: tuple[float, float] = (0.05, 0.5)
    seed: int = 0
    device: str = 'cpu'

    def check(self) -> None:
        """Checks them.

        Raises:
            UserError: for what cannot be drawn.
        """
        check_positive(detections=self.detections, size=min(self.size))
        check_device(self.device)
        if not 0 < self.sides[0] <= self.sides[1] <= 1:
            raise UserError(
                '--sides takes the shortest and the longest side of a box, above 0 and at most 1, '
                f'got {self.sides[0]} {self.sides[1]}.'
            )


def benchmark(settings: Settings, repeats: int, memory: bool = True) -> dict[str, Any]:
    """Measures, prints and returns the figures.

    Args:
        settings: What is made.
        repeats: Timed runs of each.
        memory: Whether memory is measured.

    Returns:
        The JSON object of the last line. ``differing_pixels`` counts the pixels of all masks in
        which the two differ.

    Raises:
        UserError: for settings that cannot be run.
    """
    settings.check()
    check_positive(repeats=repeats)
    small = replace(settings, detections=2, size=(64, 48))
    result = compare(make, settings, small, repeats, settings.device, memory)
    ours, baseline = (mask_utils.decode(rles) for rles in result.outputs.values())
    differing = int((ours != baseline).sum())
    _, _, boxes = draw(settings)
    share = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) / (settings.size[0] * settings.size[1])
    measured = {
        'baseline': BASELINE,
        'detections': settings.detections,
        'size': settings.size,
        'sides': settings.sides,
        'mean_box_share': share.mean().item(),
        'differing_pixels': differing,
        **circumstances(settings.device, repeats, settings.seed),
        'mmdet': mmdet.__version__,
        'pycocotools': version('pycocotools'),
    }
    return report('postprocess', result, float(differing > 0), measured)


def make(name: str, settings: Settings) -> Variant:
    """Builds one of the two for :func:`~benchmarking.measure.compare`.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: What is made.
    """
    logits, labels, boxes = (one.to(settings.device) for one in draw(settings))
    size = settings.size[1], settings.size[0]

    def ours(_: None) -> list[dict]:
        return FrameMasks.of_logits(logits, labels, boxes, size, THRESHOLD).rles()

    head = FCNMaskHead(num_convs=0, in_channels=1, conv_out_channels=1, num_classes=CATEGORIES)
    metainfo = dict(ori_shape=size, scale_factor=(1.0, 1.0))
    config = ConfigDict(mask_thr_binary=THRESHOLD)

    def baseline(own_boxes: Tensor) -> list[dict]:
        # It scales the boxes in place.
        masks = head._predict_by_feat_single(
            logits, own_boxes, labels, metainfo, config, rescale=True
        )
        return encode_mask_results(masks.cpu().numpy())

    return Variant(ours) if name == 'ours' else Variant(baseline, boxes.clone)


def draw(settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Draws what a detector would hand over.

    Args:
        settings: What is made.

    Returns:
        (N, categories, 28, 28) logits, (N,) labels and (N, 4) boxes inside the frame.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    count, extent = settings.detections, torch.tensor(settings.size)
    shortest, longest = settings.sides
    sides = torch.rand(count, 2, generator=generator) * (longest - shortest) + shortest
    sides = sides * extent
    corners = torch.rand(count, 2, generator=generator) * (extent - sides)
    labels = torch.randint(CATEGORIES, (count,), generator=generator)
    coarse = torch.randn(count, CATEGORIES, _COARSE, _COARSE, generator=generator)
    logits = 6 * functional.interpolate(coarse, (28, 28), mode='bicubic')
    # Most of an object is in the middle of its box.
    away = (torch.arange(28) - 13.5).abs() / 14
    logits += 8 - 12 * torch.maximum(away[:, None], away[None, :]) ** 2
    return logits, labels, torch.cat([corners, corners + sides], dim=1)
