"""What every benchmark asks of its options."""

from __future__ import annotations

import torch

from vispropnet.errors import UserError


def check_positive(**values: float | None) -> None:
    """Checks options of a benchmark.

    Args:
        values: By the option's name, with underscores.

    Raises:
        UserError: if one is not positive.
    """
    for name, value in values.items():
        if value is not None and value <= 0:
            raise UserError(f'--{name.replace("_", "-")} must be positive, got {value}.')


def check_size(size: tuple[int, int]) -> None:
    """Checks a frame size in pixels.

    Args:
        size: Width and height.

    Raises:
        UserError: if a side is not a positive multiple of 32, as networks get their frames.
    """
    for side in size:
        if side <= 0 or side % 32:
            raise UserError(
                f'--size takes a width and a height, positive multiples of 32, '
                f'got {size[0]} {size[1]}.'
            )


def check_device(device: str) -> None:
    """Checks that a device is there.

    Args:
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:1'``.

    Raises:
        UserError: if it is not.
    """
    try:
        kind = torch.device(device)
    except RuntimeError:
        raise UserError(f"--device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}.") from None
    if kind.type not in ('cpu', 'cuda'):
        raise UserError(f"--device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}.")
    count = torch.cuda.device_count()
    if kind.type == 'cuda' and (kind.index or 0) >= count:
        raise UserError(f'--device {device}: this machine has {count or "no"} CUDA devices.')
