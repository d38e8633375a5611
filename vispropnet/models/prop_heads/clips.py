"""Ground truth of clips as heads that propagate need it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from torch import Tensor


def same_objects(
    samples: Sequence[DetDataSample], others: Sequence[DetDataSample]
) -> list[tuple[Tensor, Tensor]]:
    """Finds the objects that two frames show.

    Args:
        samples: Of B frames, with ``instances_ids``.
        others: Of B other frames of the same clips.

    Returns:
        Per image (M,) positions in the frame and (M,) in the other, on the CPU.
    """
    ids = [sample.gt_instances.instances_ids for sample in (*samples, *others)]
    ids = torch.cat(ids).cpu().split([len(one) for one in ids])  # one copy for the whole batch
    return [
        (one[:, None] == other[None, :]).nonzero(as_tuple=True)
        for one, other in zip(ids[: len(samples)], ids[len(samples) :], strict=True)
    ]


def check_stride(features: Tensor, size: Sequence[int], stride: int, level: int) -> None:
    """Checks that features have the stride that a propagation head was configured with.

    Args:
        features: (..., h, w).
        size: Height and width of the network's input.
        stride: Pixels per cell.
        level: Position of the level, for the message.

    Raises:
        ValueError: if they have another one.
    """
    for cells, pixels in zip(features.shape[-2:], size, strict=True):
        if not stride * (cells - 1) < pixels <= stride * cells:
            raise ValueError(
                f'prop_head: stride={stride}, but level {level} has {cells} cells for {pixels} '
                'pixels'
            )
