"""Writes the tracks of a result file in the form of other programs."""

from __future__ import annotations

import argparse

from vispropnet.converting import EXPORTS
from vispropnet.errors import report_user_errors


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    forms = '\n'.join(f'  {name:8} {text}' for name, text in EXPORTS.items())
    parser = argparse.ArgumentParser(
        description='Write the tracks of a result file in another form, whole or not at all.',
        epilog=f'formats (docs/data.md, "Export results"):\n{forms}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('format', metavar='FORMAT', choices=EXPORTS, help='one of those below')
    parser.add_argument('results', metavar='RESULTS', help='result file, or the archive made of it')
    parser.add_argument('out', metavar='OUT', help='folder to make')
    parser.add_argument(
        '--ann',
        required=True,
        metavar='GT.json',
        help='annotation file of the videos (of demo_video.py: <results>_video.json)',
    )
    parser.add_argument('--images', metavar='DIR', help='folder that its file names start from')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, metavar='S', help='tracks from this score on (0.3)'
    )
    parser.add_argument('--force', action='store_true', help='replace an older output')
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the tool."""
    options = parse_arguments(arguments)
    with report_user_errors():
        from vispropnet.converting.export import export

        videos, tracks = export(
            *(options.format, options.results, options.ann, options.out),
            images=options.images,
            score_threshold=options.score_thr,
            force=options.force,
        )
    print(f'wrote {tracks} tracks of {videos} videos to {options.out}')


if __name__ == '__main__':
    main()
