"""Draws where the cells of a box look in the frames that support it (Temporal RoI Align)."""

from __future__ import annotations

import argparse
from pathlib import Path

from vispropnet.apis.command_line import add_config_options
from vispropnet.errors import UserError, report_user_errors


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights, as tools/train.py writes them')
    parser.add_argument('input', help='video file, animated image, TIFF or folder of images')
    parser.add_argument(
        '--frame', type=int, required=True, metavar='N', help='the frame with the box, from 0'
    )
    parser.add_argument(
        '--box',
        type=float,
        nargs=4,
        metavar=('X1', 'Y1', 'X2', 'Y2'),
        help='in pixels of the frame (by default that of the detection that scores most)',
    )
    parser.add_argument(
        '--out', default='work_dirs/support.png', metavar='PNG', help='(%(default)s)'
    )
    parser.add_argument('--device', help='cpu, cuda or cuda:N (cuda where there is one)')
    add_config_options(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    args = parse_args(arguments)
    with report_user_errors():
        if args.frame < 0:
            raise UserError(f'--frame must be 0 or more, got {args.frame}.')
        if Path(args.out).suffix != '.png':
            raise UserError(f'--out must be named .png, got {args.out}.')
        from vispropnet.video import open_source

        source = open_source(args.input)
        import cv2

        from vispropnet.apis.models import init_model
        from vispropnet.apis.support_places import draw_support_places
        from vispropnet.evaluation.result_file import check_folder
        from vispropnet.fileio import atomic_path

        check_folder(args.out)
        options = args.device, args.cfg_options, args.trust_checkpoint
        model = init_model(args.config, args.checkpoint, *options)
        picture = draw_support_places(model, source, args.frame, args.box)
        with atomic_path(args.out) as temporary:
            temporary.write_bytes(cv2.imencode('.png', picture)[1].tobytes())
        print(args.out)


if __name__ == '__main__':
    main()
