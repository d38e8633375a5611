"""Converts a data set of another form into the YouTube-VIS form."""

from __future__ import annotations

import argparse
import io
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vispropnet.converting import FORMATS
from vispropnet.errors import report_user_errors

if TYPE_CHECKING:
    from vispropnet.converting.convert import Conversion

OWN_CONFIG = 'configs/masktrack_rcnn/masktrack-rcnn_r50_fpn_1x_own-data.py'


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    forms = '\n'.join(f'  {name:12} {text}' for name, text in FORMATS.items())
    parser = argparse.ArgumentParser(
        description='Convert a data set into the YouTube-VIS form: OUT/instances.json and '
        'OUT/frames. All that is wrong with the source is listed; with an error nothing is '
        'written. Exit status: 0 if it was written, 1 if not, 2 if the source cannot be used.',
        epilog=f'formats (docs/data.md, "Convert your data"):\n{forms}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('format', metavar='FORMAT', choices=FORMATS, help='one of those below')
    parser.add_argument('source', metavar='SOURCE', help='folder or file of the data set')
    parser.add_argument('out', metavar='OUT', help='folder to make')
    parser.add_argument(
        '--frames',
        choices=('link', 'copy'),
        default='link',
        help='link images (default) or copy them; frames of video files are always written',
    )
    parser.add_argument(
        '--every', metavar='N', help="every N-th frame; of video files also seconds, '0.5s'"
    )
    parser.add_argument('--max-size', metavar='PIXELS', help='scale down to this longest side')
    parser.add_argument(
        '--missing',
        choices=('error', 'empty', 'unannotated'),
        default='error',
        help='what a frame without a file of masks is (default: an error)',
    )
    parser.add_argument(
        '--id-from',
        choices=('group_id', 'label-suffix', 'iou'),
        help='what tells that objects of two frames are one, where the format leaves it open',
    )
    parser.add_argument('--images', metavar='PATH', type=Path, help='where the frames are')
    parser.add_argument(
        '--categories', metavar='FILE', type=Path, help='JSON file: {"1": "cat"}, for ids in PNGs'
    )
    parser.add_argument('--split', metavar='NAME', help='list of sequences, as train of DAVIS')
    parser.add_argument('--force', action='store_true', help='replace an older output')
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the tool."""
    options = parse_arguments(arguments)
    with report_user_errors():
        from vispropnet.converting.convert import convert, summary
        from vispropnet.converting.interface import Options
        from vispropnet.datasets.check_report import report_lines

        kinds = ('images', 'categories', 'split', 'missing', 'id_from')
        result = convert(
            *(options.format, options.source, options.out),
            Options(**{kind: getattr(options, kind) for kind in kinds}),
            frames=options.frames,
            every=options.every,
            max_size=options.max_size,
            force=options.force,
        )
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A name in the source may hold what the terminal's encoding does not.
            sys.stdout.reconfigure(errors='backslashreplace')
        print('\n'.join([*report_lines(result.reports()), *result.notes]))
        if not result.is_written:
            print('error: nothing was written, because of the errors above.', file=sys.stderr)
            raise SystemExit(1)
        print(f'wrote {summary(result)} to {result.out}')
        print('\n'.join(next_commands(result)))


def next_commands(result: Conversion) -> list[str]:
    """Words the command lines that train on the output."""
    out = shlex.quote(str(result.out))
    train = f'python tools/train.py {OWN_CONFIG} --cfg-options data_root={out}'
    if result.videos > 1:
        split = f'python tools/split_ytvis.py {out}/instances.json --val-fraction 0.2'
        return [f'split: {split} --out-dir {out}', f'train: {train}']
    files = 'train_file=instances.json valid_file=instances.json'
    return [f'train (and validate on the same video, as there is one): {train} {files}']


if __name__ == '__main__':
    main()
