"""Trains the model of a config."""

from __future__ import annotations

import argparse
import sys

from vispropnet.apis.command_line import add_run_options, export_local_rank
from vispropnet.errors import report_user_errors


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='folder of logs and checkpoints (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='resume from the newest checkpoint of the work dir, or from CKPT',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='fp16',
        choices=('bf16', 'fp16'),
        help='train with mixed precision: bf16 (CPU and GPU) or fp16 (GPU; --amp alone)',
    )
    parser.add_argument(
        '--channels-last',
        action='store_true',
        help='keep the channels of a pixel together in convolutions',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the backbone first, which takes a minute (on a CPU it needs a C++ compiler)',
    )
    parser.add_argument('--seed', type=int, help="seed of the run (default: the config's)")
    add_run_options(parser)
    # A config may follow --amp, as it could when the option took no value.
    arguments = [
        '--amp=fp16' if one == '--amp' and following not in ('bf16', 'fp16') else one
        for one, following in zip(sys.argv[1:], [*sys.argv[2:], None], strict=False)
    ]
    return parser.parse_args(arguments)


def main() -> None:
    """Runs the command."""
    args = parse_args()
    export_local_rank(args)
    with report_user_errors():
        from vispropnet.apis.ranks import rank_work
        from vispropnet.apis.training import train

        with rank_work():
            train(
                args.config,
                work_dir=args.work_dir,
                resume=args.resume,
                amp=args.amp or False,
                seed=args.seed,
                launcher=args.launcher,
                overrides=args.cfg_options,
                trust_checkpoint=args.trust_checkpoint,
                channels_last=args.channels_last,
                compile_backbone=args.compile,
            )


if __name__ == '__main__':
    main()
