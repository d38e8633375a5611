"""Options that command lines share. Importing this takes no time: no torch, no mmengine."""

from __future__ import annotations

import argparse
import os


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that training and test have in common."""
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='who started the ranks: pytorch (torchrun), slurm or mpi',
    )
    # Some launchers pass it; mmengine reads it from the environment.
    parser.add_argument('--local-rank', '--local_rank', type=int, help=argparse.SUPPRESS)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of tools that read a config and a checkpoint."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='change entries of the config, e.g. data_root=/data/ytvis '
        "optim_wrapper.optimizer.lr=0.01 'param_scheduler.1.milestones=[6,9]'",
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='read checkpoints that may run code while they are read',
    )


def add_amp_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option of mixed precision for segmenting."""
    parser.add_argument(
        '--amp',
        choices=('bf16', 'fp16'),
        help='mixed precision: layers compute in bf16 (CPU, GPU) or fp16 (GPU) (default: float32)',
    )


def export_local_rank(args: argparse.Namespace) -> None:
    """Puts ``--local-rank`` of :func:`add_run_options` where mmengine looks for it."""
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
