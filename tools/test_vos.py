"""Segments the given objects of a config's test videos, writes their masks, and scores them."""

from __future__ import annotations

import argparse

from vispropnet.apis.command_line import add_amp_option, add_config_options
from vispropnet.errors import UserError, report_user_errors


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights, as tools/train.py writes them')
    parser.add_argument(
        '--out',
        required=True,
        metavar='OUT',
        help='folder for <video>/<frame>.png, or a result file in YouTube-VIS form (*.json)',
    )
    parser.add_argument(
        '--eval', action='store_true', help='print J and F, if the data come with all masks'
    )
    parser.add_argument(
        '--zip',
        choices=('davis', 'youtube-vos'),
        help='write OUT.zip as well, as this evaluation server takes it',
    )
    parser.add_argument('--json', metavar='FILE', help='with --eval: write the metrics too')
    parser.add_argument(
        '--seeds',
        metavar='RESULTS.json',
        help='take the tracks of this result file for objects, each from its first mask on',
    )
    parser.add_argument(
        '--score-thr', type=float, default=0.0, help='of --seeds: the lowest score of a track (0.0)'
    )
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
        if args.json is not None and not args.eval:
            raise UserError('--json writes metrics, which --eval gives: pass both.')
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
            seeds=args.seeds,
            seed_threshold=args.score_thr,
        )
        if args.json is not None:
            write_json(args.json, report, indent=1)


if __name__ == '__main__':
    main()
