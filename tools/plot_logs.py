"""Plots the losses and validation results of one or several training runs."""

from __future__ import annotations

import argparse

from vispropnet.errors import report_user_errors


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'work_dirs', nargs='+', metavar='WORK_DIR', help='work dir of a run; one line each'
    )
    parser.add_argument(
        '--names', nargs='+', metavar='NAME', help='what to call the runs (names of the folders)'
    )
    parser.add_argument('--out', required=True, help='the picture to write (.png, .pdf or .svg)')
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    args = parse_args(arguments)
    with report_user_errors():
        from vispropnet.visualization.charts import plot_losses

        print(f'wrote {plot_losses(args.work_dirs, args.out, args.names)}')


if __name__ == '__main__':
    main()
