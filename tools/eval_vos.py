"""Scores masks of given objects (video object segmentation): J and F as DAVIS 2017 defines them."""

from __future__ import annotations

import argparse

from vispropnet.errors import UserError, report_user_errors


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'ground_truth', metavar='GT', help='folder of <sequence>/<frame>.png, or of DAVIS'
    )
    parser.add_argument('results', metavar='RESULTS', help='folder of <sequence>/<frame>.png')
    parser.add_argument('--split', help='split of DAVIS: train, val or test-dev')
    parser.add_argument(
        '--bootstrap',
        type=int,
        default=0,
        metavar='N',
        help='resample the sequences N times and report each metric with its 95 %% interval',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the resampling (0)')
    parser.add_argument(
        '--baseline', metavar='OTHER', help='other results: reports the differences as well'
    )
    parser.add_argument(
        '--meta', metavar='JSON', help='meta.json of YouTube-VOS: scores as YouTube-VOS does'
    )
    parser.add_argument(
        '--seen', metavar='JSON', help='meta.json of its training videos: the seen categories'
    )
    parser.add_argument('--json', metavar='OUT', help='write everything, unrounded')
    return parser.parse_args()


def main() -> None:
    """Runs the command."""
    args = parse_args()
    with report_user_errors():
        if not 0 <= args.bootstrap <= 100_000:
            raise UserError(f'--bootstrap must be from 0 to 100000, got {args.bootstrap}.')
        from vispropnet.apis.vos_scoring import print_vos_scores

        print_vos_scores(
            args.ground_truth,
            args.results,
            split=args.split,
            baseline=args.baseline,
            resamples=args.bootstrap,
            seed=args.seed,
            meta=args.meta,
            seen=args.seen,
            json_out=args.json,
        )


if __name__ == '__main__':
    main()
