"""Devices that runs are run on, and were."""

from __future__ import annotations

import os
import platform
import re

from vispropnet.errors import UserError
from vispropnet.trials.plan import Plan, Run

_NO_GPU = re.compile(r'^\s*CUDA available: False', re.MULTILINE)
_GPU = re.compile(r'^\s*GPU [\d,]+: (.+)$', re.MULTILINE)
# The environment stands at the top of a log.
_HEAD = 16384
CPU = 'CPU'


def this_device() -> str:
    """Returns the name of the GPU here, or ``'CPU'``."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else CPU


def this_machine() -> str:
    """Returns the class of hardware here, as tables name it."""
    cores = f'{len(os.sched_getaffinity(0))} cores of {platform.machine()}'
    return cores if this_device() == CPU else f'{this_device()}, {cores}'


def device_of(run: Run) -> str | None:
    """Reads from the newest log of training, or else of test, the GPU (or ``'CPU'``) of a run."""
    for step in run.steps:
        for path in sorted((run.folder / step).glob('*/*.log'), reverse=True):
            with path.open('rb') as stream:
                text = stream.read(_HEAD).decode(errors='replace')
            if found := _GPU.search(text):
                return found[1].strip()
            if _NO_GPU.search(text):
                return CPU
    return None


def find_slots(jobs: int | None, per_gpu: int = 1) -> list[str]:
    """Finds the GPUs, as ``CUDA_VISIBLE_DEVICES`` wants them, or cores ('') that runs can go on.

    Args:
        jobs: Runs at a time; None for as many as the GPUs take, or one on each core without a GPU.
        per_gpu: Runs that a GPU takes.
    """
    import torch

    if not torch.cuda.is_available():
        return [''] * (jobs or len(os.sched_getaffinity(0)))
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = named.split(',') if named else [str(one) for one in range(torch.cuda.device_count())]
    return [gpus[index % len(gpus)] for index in range(jobs or per_gpu * len(gpus))]


def check_device(plan: Plan) -> None:
    """Refuses to run what is left on another device than the rest, with a UserError."""
    if not plan.left():
        return
    here = this_device()
    for run in plan.runs.values():
        there = device_of(run)
        if there not in (None, here):
            raise UserError(
                f'{run.key} in {plan.out} was run on {there}, and here is {here}: metrics and '
                'times of the two cannot be mixed. Run the rest there (--print-commands lists what '
                'is left), or give another --out.'
            )
