"""Seeded inputs of benchmarks, alike enough from frame to frame for attention to mean something."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

# Positions of a level that share a value, more or less: with less, each position attends to its
# like only; with more, to all of them.
GRAIN = 4
NOISE = 0.5


def moving_pyramids(
    size: tuple[int, int],
    frames: int,
    channels: int,
    levels: int,
    seed: int,
    noise: float = NOISE,
) -> Iterator[list[Tensor]]:
    """Smooth random feature pyramids that move a pixel per frame and axis.

    Every level is a field of its own of about unit variance, with noise that is each frame's own.

    Args:
        size: Width and height of the frames in pixels.
        frames: How many.
        channels: Of each level.
        levels: Strides 4, 8, 16 and so on.
        seed: Of the values.
        noise: Standard deviation of each frame's own noise.

    Yields:
        For each frame, per level (1, channels, height, width).
    """
    generator = torch.Generator().manual_seed(seed)
    fields = []
    for level in range(levels):
        stride = 4 * 2**level
        # Room for the movement.
        wide, high = ((side + frames) // stride + 3 for side in size)
        grid = torch.randn(1, channels, high // GRAIN + 2, wide // GRAIN + 2, generator=generator)
        field = functional.interpolate(grid, size=(high, wide), mode='bicubic', align_corners=False)
        fields.append(field / field.std().clamp(min=1e-6))
    for frame in range(frames):
        pyramid = []
        for level, field in enumerate(fields):
            stride = 4 * 2**level
            width, height = (-(-side // stride) for side in size)
            whole, part = divmod(frame / stride, 1)
            whole = int(whole)
            # Between two shifts by whole positions.
            near = field[:, :, whole : whole + height, whole : whole + width]
            far = field[:, :, whole + 1 : whole + 1 + height, whole + 1 : whole + 1 + width]
            moved = torch.lerp(near, far, part)
            own = torch.randn(moved.shape, generator=generator)
            pyramid.append(moved + noise * own)
        yield pyramid


@torch.no_grad()
def settle_norms(model: nn.Module, run: Callable[[], object]) -> None:
    """Sets the running statistics of batch normalisation to those of some inputs.

    Fresh weights with fresh statistics let features grow or vanish with depth.

    Args:
        model: Its norms are set; they stay in the mode they were in.
        run: Runs the model on the inputs.
    """
    norms = [one for one in model.modules() if isinstance(one, _BatchNorm)]
    modes = [(one.training, one.momentum) for one in norms]
    for one in norms:
        one.reset_running_stats()
        one.momentum = None  # the plain mean
        one.train()
    run()
    for one, (training, momentum) in zip(norms, modes, strict=True):
        one.momentum = momentum
        one.train(training)
