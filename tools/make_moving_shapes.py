"""Writes the procedural data set "moving shapes" in YouTube-VIS form."""

from __future__ import annotations

import argparse
import os

from vispropnet.errors import report_user_errors


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='Write procedural videos of moving shapes with exact masks, in YouTube-VIS '
        'form: OUT/{train,valid}/instances.json and OUT/{train,valid}/JPEGImages. '
        'Same options, same bytes.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('out', metavar='OUT', help='folder to make')
    parser.add_argument(
        '--preset',
        choices=('easy', 'occlusion', 'crowded'),
        default='easy',
        help='occlusion adds occluders, motion blur and colours that drift; crowded also objects '
        'and categories, for larger frames',
    )
    parser.add_argument('--videos', type=int, default=120, metavar='N', help='training videos')
    parser.add_argument('--val-videos', type=int, default=24, metavar='M', help='validation videos')
    parser.add_argument('--frames', type=int, default=12, metavar='T', help='frames in a video')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(160, 96), metavar=('W', 'H'), help='frame size'
    )
    parser.add_argument('--seed', type=int, default=0, metavar='S', help='from 0')
    parser.add_argument(
        '--workers',
        type=int,
        default=len(os.sched_getaffinity(0)),
        metavar='N',
        help='processes; videos do not depend on it',
    )
    parser.add_argument(
        '--force', action='store_true', help='replace a data set that is already at OUT'
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the tool."""
    options = parse_arguments(arguments)
    with report_user_errors():
        from vispropnet.datasets.moving_shapes import write_moving_shapes

        out = write_moving_shapes(
            options.out,
            preset=options.preset,
            train_videos=options.videos,
            val_videos=options.val_videos,
            frames=options.frames,
            size=tuple(options.size),
            seed=options.seed,
            force=options.force,
            workers=options.workers,
        )
    width, height = options.size
    print(
        f'wrote {options.videos} train and {options.val_videos} valid videos of {options.frames} '
        f'frames, {width}x{height}, preset {options.preset}, seed {options.seed}, to {out}'
    )


if __name__ == '__main__':
    main()
