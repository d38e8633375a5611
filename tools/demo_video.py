"""Segments a video file or a folder of frames, and writes an annotated video.

What was done until Ctrl-C (or SIGTERM), or until the input turned out bad, is complete.
"""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING

from vispropnet.apis.command_line import add_amp_option, add_config_options
from vispropnet.errors import UserError, report_user_errors
from vispropnet.text import counted

if TYPE_CHECKING:
    from vispropnet.apis.video_outputs import Outcome


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights, as tools/train.py writes them')
    parser.add_argument('input', help='video file, animated image, TIFF or folder of images')
    out = parser.add_argument_group('what is written (at least one)')
    out.add_argument(
        '--out',
        metavar='MP4',
        help='the video with the instances drawn; one narrower than 480 pixels is enlarged, as far '
        'as it does not become taller than 1920',
    )
    out.add_argument('--json', metavar='JSON', help='result file in the official form')
    out.add_argument('--masks', metavar='DIR', help='one PNG per frame; pixel value: the track')
    out.add_argument(
        '--fps',
        type=float,
        help="frames a second of --out (by default the times of the input's frames; 10 for images)",
    )
    frames = parser.add_argument_group('which frames')
    frames.add_argument(
        '--every', default=1, metavar='N', help='only every N-th, or one in so many seconds as 0.5s'
    )
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
        help="size that frames are fitted into for the network (the config's)",
    )
    parser.add_argument(
        '--batch',
        type=int,
        metavar='K',
        help='frames that are encoded at once (1 on a CPU, 4 on a GPU)',
    )
    parser.add_argument(
        '--font', metavar='FILE', help='draws names in scripts that no installed font has'
    )
    add_amp_option(parser)
    parser.add_argument('--device', help='cpu, cuda or cuda:N (cuda where there is one)')
    add_config_options(parser)
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> int:
    """Runs the command; gives its exit status."""
    if args.out is None and args.json is None and args.masks is None:
        raise UserError('nothing to write: pass --out MP4, --json JSON or --masks DIR.')
    if not 0 <= args.score_thr <= 1:
        raise UserError(f'--score-thr must be from 0 to 1, got {args.score_thr:g}.')
    if args.batch is not None and args.batch < 1:
        raise UserError(f'--batch must be 1 or more, got {args.batch}.')
    # First of all the input, which takes no time, then what is heavy to import.
    from vispropnet.video import open_source

    source = open_source(args.input, args.every, args.start, args.end, args.max_size)
    if args.font is not None:
        from vispropnet.visualization.text import use_font

        use_font(args.font)
    from vispropnet.apis.models import init_model
    from vispropnet.apis.video_outputs import segment_to_files

    model = init_model(
        args.config,
        args.checkpoint,
        args.device,
        args.cfg_options,
        args.trust_checkpoint,
        amp=args.amp,
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
        batch=args.batch,
    )
    report(outcome)
    if outcome.error is not None:
        raise outcome.error
    return 130 if outcome.interrupted else 0


def report(outcome: Outcome) -> None:
    """Prints what was found and written."""
    for note in outcome.notes:
        print(f'note: {note}', file=sys.stderr)
    if outcome.interrupted:
        done = 'what was done so far is written' if outcome.frames else 'nothing was done yet'
        print(f'interrupted: {done}', file=sys.stderr)
    if not outcome.frames:
        return
    rate = outcome.frames / max(outcome.seconds, 1e-9)
    frames = counted(outcome.frames, 'frame')
    print(
        f'{frames}, {outcome.instances} instances, {outcome.seconds:.1f} s '
        f'({rate:.2f} frames per second)'
    )
    for path in outcome.files:
        print(f'  {path}')


def interrupt(number: int, frame: object) -> None:
    """Has a signal that asks the process to end do what Ctrl-C does."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    args = parse_args(arguments)
    for name in ('SIGTERM', 'SIGHUP'):
        if hasattr(signal, name):  # Windows has not all
            signal.signal(getattr(signal, name), interrupt)
    with report_user_errors():
        status = run(args)
    raise SystemExit(status)


if __name__ == '__main__':
    main()
