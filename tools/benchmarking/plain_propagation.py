"""Propagation from a history as the paper defines it (ObjProp, section 3), written plainly."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vispropnet.models.prop_heads.boxes import box_maps
from vispropnet.models.prop_heads.propagation_head import PropagationHead
from vispropnet.models.trackers.track_recovery import HistoryFrame


def plain_probabilities(
    features: Tensor, history: tuple[HistoryFrame, ...], head: PropagationHead
) -> Tensor:
    """The definition, written plainly: mask probabilities of every track of the history.

    Args:
        features: (C, h, w) of the current frame.
        history: Frames, all of which hold the same tracks, in one order.
        head: Gives the weights.

    Returns:
        (tracks, stride * h, stride * w).
    """
    gaussian = plain_gaussian(features.shape[-2:], head.test_sigma, features)
    totals = [0] * len(history[0].ids)
    for frame in history:
        affinity = (frame.features.flatten(1).T @ features.flatten(1)).softmax(dim=0) * gaussian
        if head.renormalize:
            affinity = affinity / affinity.sum(dim=0)
        maps = box_maps(frame.boxes, frame.features.shape[-2:], head.stride)
        for track, label in enumerate(frame.labels.tolist()):
            foreground = maps[track].flatten()
            both = torch.stack([1 - foreground, foreground]) @ affinity
            attention = both.softmax(dim=0)[1].view(features.shape[-2:])
            logits = plain_logits(attention * features, head)
            probabilities = functional.interpolate(
                logits[None], scale_factor=head.stride // 2, mode='bilinear', align_corners=False
            )[0].sigmoid()
            totals[track] = totals[track] + probabilities[label]
    return torch.stack(totals) / len(history)


def plain_gaussian(size: tuple[int, int], sigma: float, like: Tensor) -> Tensor:
    """Weights ``exp(-d² / sigma²)`` of the distance d between any two positions.

    Args:
        size: Height and width in cells.
        sigma: In cells.
        like: Gives type and device.

    Returns:
        (P, P), positions row by row.
    """
    rows, columns = torch.meshgrid(
        *(torch.arange(side, device=like.device) for side in size), indexing='ij'
    )
    places = torch.stack([rows.flatten(), columns.flatten()]).to(like.dtype)
    squared = sum((axis[:, None] - axis[None, :]) ** 2 for axis in places)
    return torch.exp(-squared / sigma**2)


def plain_logits(attended: Tensor, head: PropagationHead) -> Tensor:
    """The mask branch, (C, h, w) to (categories, 2h, 2w)."""
    for module in head.mask_convs:
        attended = functional.conv2d(
            attended, module.conv.weight, module.conv.bias, padding=1
        ).relu()
    attended = functional.conv_transpose2d(
        attended, head.upsample.weight, head.upsample.bias, stride=2
    ).relu()
    return functional.conv2d(attended, head.conv_logits.weight, head.conv_logits.bias)
