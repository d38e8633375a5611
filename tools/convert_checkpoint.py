"""Converts a released MaskTrack R-CNN or ObjProp file (mmdetection 0.6 era) to today's keys."""

from __future__ import annotations

import argparse

from vispropnet.errors import report_user_errors


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Run what it writes with a config whose name ends in _legacy.py.',
    )
    parser.add_argument('source', metavar='IN', help='the old file')
    parser.add_argument('target', metavar='OUT', help='the file to write')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='read a file that may run code while it is read',
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    args = parse_args(arguments)
    with report_user_errors():
        from vispropnet.engine.checkpoints.legacy import convert_file

        print(convert_file(args.source, args.target, trust=args.trust_checkpoint))
        print(f'wrote {args.target}')


if __name__ == '__main__':
    main()
