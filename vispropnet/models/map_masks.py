"""Masks of the frame's size from maps of logits over the whole frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vispropnet.models.frame_masks import FrameMasks

# Bytes of the maps that are enlarged at once.
CHUNK_BYTES = 64 * 2**20


@torch.no_grad()
def full_size_masks(logits: Tensor, metainfo: Mapping[str, Any]) -> FrameMasks:
    """Enlarges maps to the network's input, takes off its padding, and scales to the frame.

    As mmdet's Mask2Former does, bilinear twice, but a few maps at a time: memory does not grow with
    the number of maps, only with what the masks cover.

    Args:
        logits: (N, h, w), each over the whole input; a pixel above 0 belongs to the mask.
        metainfo: ``batch_input_shape``, ``img_shape`` and ``ori_shape`` of the frame: (height,
            width) of the input with and without padding, and of the original frame.

    Returns:
        N masks, each tight in its window.
    """
    padded, inner, size = (
        tuple(int(side) for side in metainfo[name][:2])
        for name in ('batch_input_shape', 'img_shape', 'ori_shape')
    )
    bytes_each = 4 * (padded[0] * padded[1] + size[0] * size[1])
    parts = [FrameMasks(size)]
    for some in logits.split(max(1, CHUNK_BYTES // bytes_each)):
        maps = _resized(some.float(), padded)[:, : inner[0], : inner[1]]
        parts.append(FrameMasks.dense(_resized(maps, size) > 0))
    return FrameMasks.cat(parts)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(maps[:, None], size, mode='bilinear', align_corners=False)[:, 0]
