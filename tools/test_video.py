"""Segments the test videos of a config, writes the result file, and scores it if asked to."""

from __future__ import annotations

import argparse

from vispropnet.apis.command_line import add_amp_option, add_run_options, export_local_rank
from vispropnet.errors import report_user_errors


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights, as tools/train.py writes them')
    parser.add_argument(
        '--out',
        required=True,
        help='result file (*.json) in the official form; an archive to upload is put beside it',
    )
    parser.add_argument(
        '--eval', choices=('segm',), help='print the AP table, if the data come with annotations'
    )
    parser.add_argument('--metrics-out', metavar='JSON', help='with --eval: write the metrics too')
    parser.add_argument('--show-dir', help='draw the results into this folder')
    parser.add_argument(
        '--batch',
        type=int,
        metavar='K',
        help='frames of a video that are encoded at once (1 on a CPU, 4 on a GPU)',
    )
    add_amp_option(parser)
    add_run_options(parser)
    return parser.parse_args()


def main() -> None:
    """Runs the command."""
    args = parse_args()
    export_local_rank(args)
    with report_user_errors():
        from vispropnet.apis.ranks import rank_work
        from vispropnet.apis.testing import test

        with rank_work():
            test(
                args.config,
                args.checkpoint,
                args.out,
                evaluate=args.eval is not None,
                metrics_out=args.metrics_out,
                show_dir=args.show_dir,
                launcher=args.launcher,
                overrides=args.cfg_options,
                trust_checkpoint=args.trust_checkpoint,
                amp=args.amp,
                batch=args.batch,
            )


if __name__ == '__main__':
    main()
