"""Masks of the queries that survive at the frame's size, beside those of all queries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mmdet
import torch
from mmdet.structures.mask import encode_mask_results
from pycocotools import mask as mask_utils
from torch import Tensor
from torch.nn import functional

from benchmarking.measure import Variant, compare, report
from benchmarking.settings import MapMasksSettings as Settings
from vispropnet.models.map_masks import full_size_masks

BASELINE = "all maps enlarged at once, as mmdet's Mask2Former does, and encode_mask_results"
# Cells of a drawn map: as smooth as what a model gives.
_COARSE = (6, 9)


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures, prints and returns the JSON object of the last line.

    ``differing_pixels`` counts the pixels of all masks in which the two differ.
    """
    result = compare(make, settings, replace(settings, queries=2, survivors=1, size=(64, 64)))
    ours, baseline = (mask_utils.decode(rles) for rles in result.outputs.values())
    differing = int((ours != baseline).sum())
    return report(
        'map-masks',
        settings,
        result,
        float(differing > 0),
        baseline=BASELINE,
        differing_pixels=differing,
        covered=float(ours.mean()),
        mmdet=mmdet.__version__,
    )


def make(name: str, settings: Settings) -> Variant:
    """Builds ``'ours'`` or ``'baseline'``."""
    logits, chosen = (one.to(settings.device) for one in draw(settings))
    metainfo = sizes(settings)

    def ours(_: None) -> list[dict]:
        return full_size_masks(logits[chosen], metainfo).rles()

    def baseline(_: None) -> list[dict]:
        inner = metainfo['img_shape']
        maps = _resized(logits, metainfo['batch_input_shape'])[:, : inner[0], : inner[1]]
        masks = _resized(maps, metainfo['ori_shape']) > 0
        return encode_mask_results(masks[chosen].cpu().numpy())

    return Variant(ours if name == 'ours' else baseline)


def sizes(settings: Settings) -> dict[str, tuple[int, int]]:
    """Sizes of a frame that is scaled down by two for the network and padded to multiples of 32."""
    height, width = settings.size[1], settings.size[0]
    inner = height // 2, width // 2
    padded = tuple((side + 31) // 32 * 32 for side in inner)
    return dict(batch_input_shape=padded, img_shape=inner, ori_shape=(height, width))


def draw(settings: Settings) -> tuple[Tensor, Tensor]:
    """Draws mask logits of queries at stride 4, and which of them survive.

    Returns:
        (Q, h, w), of which about a tenth is above 0, and (N,) int64.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    coarse = torch.randn(settings.queries, 1, *_COARSE, generator=generator) - 1.3
    size = [side // 4 for side in sizes(settings)['batch_input_shape']]
    maps = functional.interpolate(coarse, size, mode='bicubic')[:, 0]
    chosen = torch.randperm(settings.queries, generator=generator)[: settings.survivors]
    return 4 * maps, chosen


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(maps[:, None], size, mode='bilinear', align_corners=False)[:, 0]
