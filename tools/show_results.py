"""Shows ground truth and one or two methods side by side, from result files alone."""

from __future__ import annotations

import argparse

from vispropnet.errors import UserError, report_user_errors

# As many as have room side by side in a picture.
MOST_FRAMES = 37


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='Draw videos with the tracks of result files below the ground truth, one '
        'picture per video; with --mp4, as videos too. An object has one colour everywhere.'
    )
    parser.add_argument('ground_truth', metavar='GT.json', help='annotation file')
    parser.add_argument(
        'first',
        metavar='A.json',
        nargs='?',
        help='result file, or the archive made of it; without one the ground truth alone is drawn',
    )
    parser.add_argument('second', metavar='B.json', nargs='?', help='result file of another method')
    parser.add_argument(
        '--images', required=True, metavar='DIR', help='folder that the file names start from'
    )
    parser.add_argument(
        '--out', default='work_dirs/show_results', metavar='DIR', help='(work_dirs/show_results)'
    )
    parser.add_argument('--names', nargs='+', metavar='NAME', help='titles (names of the files)')
    videos = parser.add_mutually_exclusive_group()
    videos.add_argument('--videos', type=int, metavar='N', help='how many videos (8)')
    videos.add_argument('--video', nargs='+', metavar='ID', help='these videos')
    parser.add_argument(
        '--worst',
        metavar='FILE',
        help='the worst videos first, by the list that tools/eval_vis.py --errors writes '
        '(<results>_worst_videos.json); otherwise evenly over the file',
    )
    parser.add_argument(
        '--frames', type=int, default=6, metavar='N', help='frames of a video in a picture (6)'
    )
    parser.add_argument(
        '--score-thr', type=float, default=0.3, metavar='S', help='tracks from this score on (0.3)'
    )
    parser.add_argument(
        '--font', metavar='FILE', help='draws names in scripts that no installed font has'
    )
    parser.add_argument('--mp4', action='store_true', help='write a video of all frames as well')
    parser.add_argument(
        '--fps',
        type=float,
        metavar='F',
        help='frames a second with --mp4 (the times of the annotations, or else 6)',
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    args = parse_args(arguments)
    with report_user_errors():
        check(args)
        from vispropnet.visualization.side_by_side import Selection, show_results
        from vispropnet.visualization.text import use_font

        if args.font is not None:
            use_font(args.font)
        written = show_results(
            args.ground_truth,
            [path for path in (args.first, args.second) if path is not None],
            args.images,
            args.out,
            names=args.names,
            selection=Selection(
                videos=8 if args.videos is None else args.videos,
                ids=args.video,
                worst=args.worst,
                frames=args.frames,
                score_threshold=args.score_thr,
            ),
            mp4=args.mp4,
            fps=args.fps,
        )
        for path in written:
            print(path)


def check(args: argparse.Namespace) -> None:
    """Checks the options.

    Raises:
        UserError: naming the option.
    """
    if args.video and args.worst:
        raise UserError('--video names the videos to show: it does not go with --worst.')
    if args.videos is not None and args.videos < 1:
        raise UserError(f'--videos must be 1 or more, got {args.videos}.')
    if not 1 <= args.frames <= MOST_FRAMES:
        raise UserError(f'--frames must be within 1 .. {MOST_FRAMES}, got {args.frames}.')
    if not 0 <= args.score_thr <= 1:
        raise UserError(f'--score-thr must be within [0, 1], got {args.score_thr}.')
    if args.fps is not None and not 0.1 <= args.fps <= 240:
        raise UserError(f'--fps must be within 0.1 .. 240, got {args.fps}.')


if __name__ == '__main__':
    main()
