"""Segments the given objects of a config's test videos, writes index masks, and scores them."""

from __future__ import annotations

import argparse

from vispropnet.apis.command_line import add_amp_option, add_config_options
from vispropnet.errors import report_user_errors


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights, as tools/train.py writes them')
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='folder for <video>/<frame>.png'
    )
    parser.add_argument(
        '--eval', action='store_true', help='print J and F, if the data come with all masks'
    )
    parser.add_argument(
        '--zip',
        choices=('davis', 'youtube-vos'),
        help='write DIR.zip as well, as this evaluation server takes it',
    )
    parser.add_argument('--json', metavar='OUT', help='with --eval: write the metrics too')
    parser.add_argument(
        '--batch',
        type=int,
        metavar='K',
        help='frames of a video that are encoded at once (1 on a CPU, 4 on a GPU)',
    )
    add_amp_option(parser)
    parser.add_argument('--device', help='cpu, cuda or cuda:N (cuda where there is one)')
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Runs the command."""
    args = parse_args()
    with report_user_errors():
        from vispropnet.apis.vos_testing import test_vos
        from vispropnet.fileio import write_json

        report = test_vos(
            args.config,
            args.checkpoint,
            args.out,
            evaluate=args.eval,
            archive=args.zip,
            overrides=args.cfg_options,
            trust_checkpoint=args.trust_checkpoint,
            amp=args.amp,
            batch=args.batch,
            device=args.device,
        )
        if args.json is not None and report is not None:
            write_json(args.json, report, indent=1)


if __name__ == '__main__':
    main()
