"""From mask logits to run-length encoded masks of the frame's size, beside mmdet's way."""

from __future__ import annotations

from dataclasses import replace
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

from benchmarking.measure import Variant, compare, report
from benchmarking.settings import PostprocessSettings as Settings
from vispropnet.models.frame_masks import FrameMasks

BASELINE = "mmdet's FCNMaskHead (paste at the frame's size) and encode_mask_results"
THRESHOLD = 0.5
CATEGORIES = 40
# Cells of a drawn mask: as smooth as what a mask head gives.
_COARSE = 5


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures, prints and returns the JSON object of the last line.

    ``differing_pixels`` counts the pixels of all masks in which the two differ.
    """
    result = compare(make, settings, replace(settings, detections=2, size=(64, 48)))
    ours, baseline = (mask_utils.decode(rles) for rles in result.outputs.values())
    differing = int((ours != baseline).sum())
    _, _, boxes = draw(settings)
    share = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) / (settings.size[0] * settings.size[1])
    return report(
        'postprocess',
        settings,
        result,
        float(differing > 0),
        baseline=BASELINE,
        mean_box_share=share.mean().item(),
        differing_pixels=differing,
        mmdet=mmdet.__version__,
        pycocotools=version('pycocotools'),
    )


def make(name: str, settings: Settings) -> Variant:
    """Builds ``'ours'`` or ``'baseline'``."""
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
    """Draws (N, categories, 28, 28) logits, (N,) labels and (N, 4) boxes inside the frame."""
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
