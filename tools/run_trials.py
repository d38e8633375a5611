"""Runs every trial of a study, and makes one table and one report of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vispropnet.errors import UserError, report_user_errors
from vispropnet.trials.study_file import read_study

STUDY = Path(__file__).resolve().parent.parent / 'configs/studies/objprop-trials.py'


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line and reads the study, which knows the presets."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument(
        '--study',
        metavar='FILE',
        default=STUDY,
        help='baseline, trials and presets (configs/studies/objprop-trials.py)',
    )
    study = read_study(first.parse_known_args(arguments)[0].study)
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f'trials: {", ".join(study.trials)}\n\npresets:\n'
        + '\n'.join(f'  {name:8} {preset.about}' for name, preset in study.presets.items()),
        parents=[first],
    )
    parser.set_defaults(read=study)
    parser.add_argument('--preset', required=True, choices=study.presets, help='see below')
    parser.add_argument(
        '--out', metavar='DIR', help=f'where everything goes ({study.work_dir}/<preset>)'
    )
    parser.add_argument(
        '--only',
        nargs='+',
        metavar='TRIAL',
        help='these trials, and the baseline which they are compared with; all is all of them',
    )
    parser.add_argument('--seeds', type=int, help='runs of each trial (1)')
    parser.add_argument(
        '--baseline-seeds',
        type=int,
        help='runs of the baseline, which show what a seed changes (2, or --seeds if more)',
    )
    parser.add_argument(
        '--resume', action='store_true', help='resume the trials that the folder holds'
    )
    parser.add_argument(
        '--jobs',
        type=int,
        help='runs at a time (as many on each GPU as the preset says; else one on each core)',
    )
    parser.add_argument('--data', metavar='DIR', help='folder of the data, if not as configured')
    parser.add_argument('--data-seed', type=int, help='seed of the data that the preset makes (0)')
    parser.add_argument(
        '--kept',
        metavar='DIR',
        help='runs that are kept there count as done, and those done are kept there: results '
        'without weights, a small file each',
    )
    parser.add_argument(
        '--print-commands',
        action='store_true',
        help='print what is left to run, for the queue of a cluster; --resume then scores it',
    )
    parser.add_argument(
        '--attention',
        nargs='+',
        default=[],
        metavar='VIDEO:FRAME:REFERENCE:WHERE',
        help='attention maps in the report: WHERE is a position X,Y or an object #ID of the frame',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', help='as in tools/train.py'
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    with report_user_errors():
        args = parse_args(arguments)
        for name in ('seeds', 'baseline_seeds', 'jobs'):
            value = getattr(args, name)
            if value is not None and value < 1:
                raise UserError(f'--{name.replace("_", "-")} must be 1 or more, got {value}.')
        if args.data_seed is not None and args.data_seed < 0:
            raise UserError(f'--data-seed must be 0 or more, got {args.data_seed}.')
        from vispropnet.apis.trials import run_trials

        done = run_trials(
            args.read,
            args.preset,
            out=args.out,
            only=args.only,
            seeds=args.seeds,
            baseline_seeds=args.baseline_seeds,
            resume=args.resume,
            jobs=args.jobs,
            data=args.data,
            data_seed=args.data_seed,
            overrides=args.cfg_options,
            print_only=args.print_commands,
            attention=args.attention,
            kept=args.kept,
        )
    sys.exit(0 if done else 1)


if __name__ == '__main__':
    main()
