"""Copies to a device that the host does not wait for."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copies a small CPU tensor to a device without waiting for the device.

    An index left on the CPU is copied, and waited for, at each use.

    Args:
        tensor: Any; one that is on the device is returned as it is.
        device: Where it goes.

    Returns:
        The tensor there.
    """
    return tensor.to(device, non_blocking=True)
