"""Runs what only a GPU can show, and prints one table to paste into an issue.

Steps are the ordinary commands; their output goes into files of the work dir.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from vispropnet.errors import UserError, report_user_errors

ROOT = Path(__file__).resolve().parent.parent
CONFIG = 'configs/objprop/objprop_r18_fpn_2e_moving-shapes.py'


@dataclass(frozen=True)
class Step:
    """One row of the table: its name, and the arguments of Python."""

    name: str
    command: tuple[str, ...]


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--device',
        default='cuda',
        choices=('cuda', 'cpu', 'pretended'),
        help='cpu and pretended try the steps without a GPU, on less (%(default)s)',
    )
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/gpu_check'), help='(%(default)s)'
    )
    parser.add_argument('--only', nargs='+', metavar='WORD', help='steps with one of these words')
    return parser.parse_args(arguments)


def steps(device: str, work_dir: Path, gpus: int) -> list[Step]:
    """Lists the steps for a device, and the number of GPUs that there are."""
    data = f'{work_dir}/data'
    sizes = ('8', '2', '8', '320', '180') if device == 'cuda' else ('2', '1', '3', '96', '64')
    videos, others, frames, *size = sizes
    shapes = '--videos', videos, '--val-videos', others, '--frames', frames, '--size', *size
    listed = [Step('data', ('tools/make_moving_shapes.py', data, *shapes))]
    listed.append(Step('tests marked gpu', ('-m', 'pytest', '-q', '-m', 'gpu')))
    options = f'data_root={data}', 'train_cfg.max_epochs=1', 'default_hooks.logger.interval=1'

    def training(name: str, *more: str, start: tuple[str, ...] = ()) -> Step:
        folder = f'{work_dir}/{name.replace(" ", "_")}'
        given = ('--work-dir', folder, *more, '--cfg-options', *options)
        return Step(name, (*start, 'tools/train.py', CONFIG, *given))

    listed.append(training('train'))
    if gpus > 1:
        launch = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2')
        listed.append(training('train 2 GPUs', '--launcher', 'pytorch', start=launch))
    listed.append(training('train bf16', '--amp', 'bf16'))
    if device != 'cpu':
        listed.append(training('train fp16', '--amp', 'fp16'))
    chosen = '--device', 'cpu' if device == 'cpu' else 'cuda'
    small = ('--repeats', '1', '--size', '96', '64') if device != 'cuda' else ()
    for name in ('train', 'infer', 'propagation', 'attention'):
        listed.append(Step(f'benchmark {name}', ('tools/benchmark.py', name, *chosen, *small)))
    length = ('20', '10') if small else ('200', '50')
    video = ('--size', '1280', '720', '--frames', length[0], '--short', length[1])
    # Neither compiled code nor other processes run on a pretended GPU.
    if device != 'pretended':
        listed.append(training('train compile', '--compile'))
        listed.append(Step('benchmark memory', ('tools/benchmark.py', 'memory', *chosen, *video)))
    if device == 'pretended':
        program = ('-m', 'tests.pretended_gpu.program')
        return [
            Step(one.name, (*program, *one.command) if '-m' not in one.command else one.command)
            for one in listed
        ]
    return listed


def run_step(step: Step, work_dir: Path, environment: dict[str, str]) -> tuple[bool, float, str]:
    """Runs a step.

    Returns:
        Success, seconds, and what it found: a summary, or the reason of the failure.
    """
    path = work_dir / f'{step.name.replace(" ", "_")}.log'
    start = time.perf_counter()
    with path.open('w') as log:
        done = subprocess.run(
            [sys.executable, *step.command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    lines = [line for line in path.read_text(errors='replace').splitlines() if line.strip()]
    seconds = time.perf_counter() - start
    if done.returncode == 0:
        return True, seconds, summary(lines)
    errors = [line for line in lines if re.search(r'error\b', line, re.IGNORECASE)]
    return False, seconds, f'{(errors or lines or ["no output"])[-1].strip()} (see {path})'


def summary(lines: list[str]) -> str:
    """Shortens the output of a step: a benchmark's numbers, the last training step, or a line."""
    for line in reversed(lines):
        if line.startswith('{"name"'):
            row = json.loads(line)
            names = ('ours_s', 'baseline_s', 'ratio', 'ours_mib', 'ours_gpu_mib', 'max_abs_diff')
            return ', '.join(
                f'{name} {row[name]:.4g}' for name in names if row.get(name) is not None
            )
        if 'Epoch(train)' in line:
            return ', '.join(re.findall(r'\b(?:time|memory|grad_norm|loss): \S+', line))
    return lines[-1].strip() if lines else ''


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    args = parse_args(arguments)
    with report_user_errors():
        import torch

        gpus = torch.cuda.device_count() if args.device == 'cuda' else 0
        if args.device == 'cuda' and not gpus:
            raise UserError('there is no GPU; --device cpu tries the steps without one.')
        args.work_dir.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
        if args.device != 'cuda':
            environment['CUDA_VISIBLE_DEVICES'] = ''
        rows = []
        for step in steps(args.device, args.work_dir.resolve(), gpus):
            if args.only and not any(word in step.name for word in ['data', *args.only]):
                continue
            print(f'{step.name} ...', file=sys.stderr, flush=True)
            rows.append((step.name, *run_step(step, args.work_dir, environment)))
        card = f'{gpus} x {torch.cuda.get_device_name()}' if gpus else args.device
        print(f'{card}, torch {torch.__version__}, {time.strftime("%Y-%m-%d")}\n')
        print('| step | result | seconds | found |\n|---|---|--:|---|')
        for name, passed, seconds, found in rows:
            words = ('passed', found) if passed else ('FAILED', '')
            print(f'| {name} | {words[0]} | {seconds:.0f} | {words[1]} |')
        failed = [f'FAILED {name}: {found}' for name, passed, _, found in rows if not passed]
        print('\n' + '\n'.join(failed or ['all passed']))
        raise SystemExit(1 if failed else 0)


if __name__ == '__main__':
    main()
