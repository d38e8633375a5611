"""Scores a result file against annotations: ours, or another system's."""

from __future__ import annotations

import argparse
from pathlib import Path

from vispropnet.errors import UserError, report_user_errors

# Far more than intervals need; their weights take a few hundred MB.
MOST_RESAMPLES = 100_000


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('ground_truth', metavar='GT.json', help='annotation file')
    parser.add_argument(
        'results',
        metavar='RESULTS.json',
        help='result file, or the archive made of it; its category ids are those of GT.json',
    )
    parser.add_argument(
        '--bootstrap',
        type=int,
        default=0,
        metavar='N',
        help='resample the videos N times and report each metric with its 95 %% interval',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the resampling (0)')
    parser.add_argument(
        '--baseline',
        metavar='OTHER.json',
        help='another result file for the same annotations: reports the differences; with '
        '--bootstrap, their intervals too, both results on the same resampled videos',
    )
    parser.add_argument('--per-class', action='store_true', help='a table by category as well')
    parser.add_argument(
        '--errors',
        action='store_true',
        help='report what each kind of error costs; draw a chart and list the worst videos',
    )
    parser.add_argument(
        '--errors-dir',
        metavar='DIR',
        help='where chart and list go (beside the file of --json, else beside the results)',
    )
    parser.add_argument(
        '--oracles',
        action='store_true',
        help='score the results with their masks, linking or detections taken from the truth as '
        'well',
    )
    parser.add_argument(
        '--hota',
        action='store_true',
        help='HOTA and IDF1 on masks as well, by the package trackeval',
    )
    parser.add_argument(
        '--gaps',
        action='store_true',
        help='how many objects keep their ids over the frames in which they are hidden, by their '
        'number',
    )
    parser.add_argument(
        '--visibility',
        action='store_true',
        help='in how many frames objects are found, by how much of them is visible',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='S',
        help='score from which tracks count for --hota and --gaps, which know no scores (0.3)',
    )
    parser.add_argument(
        '--annotated-only',
        action='store_true',
        help='only frames that show an object count: for files of which not all are annotated',
    )
    parser.add_argument('--json', metavar='OUT', help='write everything, unrounded')
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    args = parse_args(arguments)
    with report_user_errors():
        if not 0 <= args.bootstrap <= MOST_RESAMPLES:
            raise UserError(
                f'--bootstrap must be a number of resamples, at most {MOST_RESAMPLES}, got '
                f'{args.bootstrap}.'
            )
        if args.seed < 0:
            raise UserError(f'--seed must be 0 or more, got {args.seed}.')
        if not 0 <= args.score_thr <= 1:
            raise UserError(f'--score-thr must be within [0, 1], got {args.score_thr}.')
        from vispropnet.apis.scoring import print_scores

        folder = args.errors_dir or Path(args.json or args.results).parent
        print_scores(
            args.ground_truth,
            args.results,
            baseline=args.baseline,
            resamples=args.bootstrap,
            seed=args.seed,
            per_class=args.per_class,
            errors_dir=folder if args.errors or args.errors_dir else None,
            hota_threshold=args.score_thr if args.hota else None,
            gap_threshold=args.score_thr if args.gaps else None,
            json_out=args.json,
            annotated_only=args.annotated_only,
            oracles=args.oracles,
            visibility=args.visibility,
        )


if __name__ == '__main__':
    main()
