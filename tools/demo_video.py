"""Segments a video file, a folder of frames or a camera, and writes an annotated video.

What was done until Ctrl-C, or until the input turned out bad, is complete and playable.
"""

from __future__ import annotations

import argparse
import sys

from vispropnet.apis.command_line import add_config_options
from vispropnet.errors import UserError, report_user_errors


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights, as tools/train.py writes them')
    parser.add_argument('input', help='video file, folder of images, or number of a camera')
    out = parser.add_argument_group('what is written (at least one)')
    out.add_argument('--out', metavar='MP4', help='the video with the instances drawn')
    out.add_argument('--json', metavar='JSON', help='result file in the official form')
    out.add_argument('--masks', metavar='DIR', help='one PNG per frame; pixel value: the track')
    out.add_argument('--fps', type=float, help="frames a second of --out (the input's, or 10)")
    out.add_argument(
        '--codec',
        choices=('auto', 'vp9', 'mpeg4'),
        default='auto',
        help='of --out: vp9 plays in browsers, mpeg4 is many times faster to write; auto: vp9 up '
        'to 2560x1440 pixels (%(default)s)',
    )
    frames = parser.add_argument_group('which frames')
    frames.add_argument('--every', type=int, default=1, metavar='N', help='only every N-th')
    frames.add_argument('--start', help='the first: its number from 0, or seconds as 12.5s')
    frames.add_argument('--end', help='the one behind the last: number or seconds')
    frames.add_argument(
        '--max-size', type=int, metavar='PIXELS', help='scale frames down to this longest side'
    )
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='leave out what scores less (%(default)s)'
    )
    parser.add_argument(
        '--scale',
        type=int,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help="what frames are fitted into for the network (the config's)",
    )
    parser.add_argument('--device', help='cpu, cuda or cuda:N (cuda where there is one)')
    add_config_options(parser)
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> int:
    """Runs the command; gives its exit status."""
    if args.out is None and args.json is None and args.masks is None:
        raise UserError('nothing to write: pass --out MP4, --json JSON or --masks DIR.')
    from vispropnet.apis.models import init_model
    from vispropnet.apis.video_files import segment_to_files
    from vispropnet.datasets.frame_sources import open_source

    with open_source(args.input, args.every, args.start, args.end, args.max_size) as source:
        model = init_model(
            args.config, args.checkpoint, args.device, args.cfg_options, args.trust_checkpoint
        )
        outcome = segment_to_files(
            model,
            source,
            args.out,
            args.json,
            args.masks,
            score_threshold=args.score_thr,
            scale=None if args.scale is None else tuple(args.scale),
            fps=args.fps,
            codec=args.codec,
        )
    for note in outcome.notes:
        print(f'note: {note}', file=sys.stderr)
    if outcome.interrupted:
        print('interrupted: what was done so far is written', file=sys.stderr)
    rate = outcome.frames / max(outcome.seconds, 1e-9)
    print(
        f'{outcome.frames} frames, {outcome.instances} instances, {outcome.seconds:.1f} s '
        f'({rate:.2f} frames per second)'
    )
    for path in outcome.files:
        print(f'  {path}')
    if outcome.error is not None:
        raise outcome.error
    # A camera has no other end.
    return 130 if outcome.interrupted and source.kind != 'camera' else 0


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    args = parse_args(arguments)
    with report_user_errors():
        status = run(args)
    raise SystemExit(status)


if __name__ == '__main__':
    main()
