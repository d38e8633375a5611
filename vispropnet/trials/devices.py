"""What runs were run on."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from vispropnet.trials.plan import Run

_NO_GPU = re.compile(r'^\s*CUDA available: False', re.MULTILINE)
_GPU = re.compile(r'^\s*GPU [\d,]+: (.+)$', re.MULTILINE)
# The environment stands at the top of a log.
_HEAD = 16384
CPU = 'CPU'


def this_device() -> str:
    """Gives the name of the GPU here, or ``'CPU'``."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else CPU


def this_machine() -> str:
    """Gives the class of hardware here, as tables name it."""
    cores = f'{len(os.sched_getaffinity(0))} cores of {platform.machine()}'
    return cores if this_device() == CPU else f'{this_device()}, {cores}'


def device_of(run: Run) -> str | None:
    """Gives what a run was run on, wherever that was.

    Args:
        run: The run.

    Returns:
        The name of the GPU, or ``'CPU'``, as the newest log of training, or else of test, tells;
        None if there is none.
    """
    for step in run.steps:
        for path in sorted((run.folder / step).glob('*/*.log'), reverse=True):
            name = _device_in(path)
            if name is not None:
                return name
    return None


def _device_in(log: Path) -> str | None:
    with log.open('rb') as stream:
        text = stream.read(_HEAD).decode(errors='replace')
    found = _GPU.search(text)
    if found:
        return found[1].strip()
    return CPU if _NO_GPU.search(text) else None
