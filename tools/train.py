"""Trains the model of a config."""

from __future__ import annotations

import argparse

from vispropnet.apis.command_line import add_run_options, export_local_rank
from vispropnet.errors import report_user_errors


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='where logs and checkpoints go (default: work_dirs/<config name>)'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='go on from the newest checkpoint of the work dir, or from CKPT',
    )
    parser.add_argument('--amp', action='store_true', help='train with mixed precision')
    parser.add_argument('--seed', type=int, help="seed of the run (default: the config's)")
    add_run_options(parser)
    return parser.parse_args()


def main() -> None:
    """Runs the command."""
    args = parse_args()
    export_local_rank(args)
    with report_user_errors():
        from vispropnet.apis.running import end_rank, train

        train(
            args.config,
            work_dir=args.work_dir,
            resume=args.resume,
            amp=args.amp,
            seed=args.seed,
            launcher=args.launcher,
            overrides=args.cfg_options,
            trust_checkpoint=args.trust_checkpoint,
        )
        end_rank()


if __name__ == '__main__':
    main()
