"""Lack of memory on a GPU, as an error that its user can mend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from vispropnet.errors import UserError

_FRAMES = (
    'Lower --batch, the scale of the frames (--scale, or Resize in the pipeline) or '
    'batch_mib, where the model has it.'
)


@contextlib.contextmanager
def explain_lack_of_memory(advice: str = _FRAMES) -> Iterator[None]:
    """Turns the error of a GPU without enough memory into a UserError with advice.

    Args:
        advice: What to lower; by default for segmenting.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        reason = str(error).strip().partition('. GPU')[0].rstrip('.')
        raise UserError(
            f'the GPU has too little memory ({reason}). {advice} Other programs may use it as well.'
        ) from None
