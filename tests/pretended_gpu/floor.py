"""Counts work of a training step and a test frame, and computes what a GPU needs at least.

``PYTHONPATH=tools python -m tests.pretended_gpu.floor [--config CONFIG]`` prints a table of
operations (``torch.utils.flop_counter``), bytes that operators read and write if none are fused,
and kernels (operators that are no views). Times are these by published rates; nothing is measured.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarking import infer, train
from benchmarking.settings import InferSettings, TrainSettings
from tests.pretended_gpu.context import pretended_gpu
from tests.pretended_gpu.device import PretendedGpu
from tests.pretended_gpu.tensor import GpuTensor

# NVIDIA's data sheets of H100 SXM and H200 SXM, dense: TF32 operations and bytes in a second.
RATES = {'H100': (494.7e12, 3.35e12), 'H200': (494.7e12, 4.8e12)}
LAUNCH = 5e-6  # seconds of the host for a kernel


@dataclass
class Work:
    """Operations, bytes and kernels."""

    operations: int = 0
    bytes: int = 0
    kernels: int = 0

    def note(self, func: Any, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        """Adds an operator, unless it only changes how memory is looked at."""
        tensors = [one for one in tree_leaves((args, kwargs, result)) if isinstance(one, Tensor)]
        there = {id(one): one for one in tensors if isinstance(one, GpuTensor)}
        if func.is_view or not there or func is torch.ops.aten.detach.default:
            return
        self.kernels += 1
        self.bytes += sum(one.numel() * one.element_size() for one in there.values())
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.operations += count(*args, **kwargs, out_val=result)

    def row(self, name: str, frames: int = 1) -> str:
        """A row of the table, of one of so many frames."""
        counts = self.operations / 1e9, self.bytes / 1e9
        cells = [f'{count / frames:.3g}' for count in counts] + [f'{self.kernels / frames:.0f}']
        launches = self.kernels * LAUNCH
        for operations, bandwidth in RATES.values():
            parts = self.operations / operations, self.bytes / bandwidth, launches
            cells.append(' / '.join(f'{1000 * part / frames:.1f}' for part in parts))
        return f'| {name} | {" | ".join(cells)} |'


def count_work(gpu: PretendedGpu, run: Any) -> Work:
    """Counts the work of ``run()`` on the pretended GPU."""
    work, compute = Work(), gpu.run

    def counted(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        result = compute(func, args, kwargs)
        work.note(func, args, kwargs, result)
        return result

    gpu.run = counted
    run()
    del gpu.run
    return work


def main() -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default=TrainSettings.config)
    parser.add_argument('--size', type=int, nargs=2, default=(640, 360))
    args = parser.parse_args()
    given = dict(config=args.config, size=tuple(args.size), device='cuda', memory=False)
    heads = ' | '.join(f'{name}: matrix / memory / launches, ms' for name in RATES)
    print(f'| | 1e9 operations | GB | kernels | {heads} |\n|---|--:|--:|--:|--:|--:|')
    with pretended_gpu() as gpu:
        step = train.make('ours', TrainSettings(**given))
        print(count_work(gpu, step).row('training step, 2 clips of 2 frames'), flush=True)
        for batch in (1, 4):
            frame = infer.make('ours', InferSettings(batch=batch, **given))
            print(count_work(gpu, frame).row(f'test frame, `--batch {batch}`', batch), flush=True)


if __name__ == '__main__':
    main()
