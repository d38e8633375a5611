"""IoU of masks with values in [0, 1] (MaskProp, Bertasius and Torresani, CVPR 2020, section 3.3).

``Σ AB / Σ (A + B - AB)``, which on masks of 0 and 1 is the IoU. Of a constant p with itself it is
p / (2 - p).
"""

from __future__ import annotations

import torch
from torch import Tensor

from vispropnet.ops.affinity import at_least_single


def soft_iou(masks: Tensor, others: Tensor, smoothing: float = 0.0) -> Tensor:
    """Soft IoU of pairs of masks.

    Args:
        masks: (..., h, w) in [0, 1].
        others: The same.
        smoothing: Added to both sums. Without, two empty masks give NaN, and the gradient is zero
            where one is empty.

    Returns:
        (...) in [0, 1], in single precision at least.
    """
    with torch.autocast(masks.device.type, enabled=False):
        masks, others = at_least_single(masks), at_least_single(others)
        common = (masks * others).sum(dim=(-2, -1))
        total = masks.sum(dim=(-2, -1)) + others.sum(dim=(-2, -1)) - common
        return (common + smoothing) / (total + smoothing)


def soft_overlaps(masks: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of the soft IoU of each mask with each other one.

    Args:
        masks: (N, h, w) in [0, 1].
        others: (M, h, w).

    Returns:
        (N, M) ``Σ AB`` and (N, M) ``Σ (A + B - AB)``, in single precision at least.
    """
    with torch.autocast(masks.device.type, enabled=False):
        masks, others = at_least_single(masks).flatten(1), at_least_single(others).flatten(1)
        common = masks @ others.t()
        return common, masks.sum(dim=1)[:, None] + others.sum(dim=1)[None, :] - common
