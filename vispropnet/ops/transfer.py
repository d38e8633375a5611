"""Copies between host and device with as few waits as can be."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copies a small CPU tensor to a device without waiting for it; one that is there stays.

    An index left on the CPU is copied, and waited for, at each use.
    """
    return tensor.to(device, non_blocking=True)


def to_host(*columns: Tensor) -> tuple[Tensor, ...]:
    """Copies columns of numbers to the host together, for which it waits for their device once.

    Args:
        columns: Each (N,); whole numbers below 2**53.

    Returns:
        The same on the CPU.
    """
    if all(column.device.type == 'cpu' for column in columns):
        return columns
    table = torch.stack([column.double() for column in columns]).cpu()
    return tuple(row.to(column.dtype) for row, column in zip(table, columns, strict=True))
