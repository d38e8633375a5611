"""Shows how well a MaskProp carries masks: quality by distance, and a clip of two objects."""

from __future__ import annotations

import argparse
from pathlib import Path

from vispropnet.apis.command_line import add_config_options
from vispropnet.errors import UserError, report_user_errors


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='Carry true masks of the test videos to the frames around theirs, and write '
        'their IoU with the truth by distance, beside that of masks left where they were '
        '(quality.json, quality.png), and a picture of a clip (clip.png).'
    )
    parser.add_argument('config', help='config of a MaskProp; its test data need annotations')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to write to')
    parser.add_argument('--distance', type=int, default=6, metavar='N', help='farthest frame (6)')
    parser.add_argument('--videos', type=int, metavar='N', help='the first ones (all)')
    parser.add_argument('--video', type=int, default=0, metavar='N', help='of the clip (0)')
    parser.add_argument('--frame', type=int, metavar='N', help='centre of the clip (its middle)')
    parser.add_argument('--device', help='such as cuda:0 or cpu (a GPU if there is one)')
    add_config_options(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    args = parse_args(arguments)
    with report_user_errors():
        for name, least in (('distance', 1), ('videos', 1), ('video', 0), ('frame', 0)):
            value = getattr(args, name)
            if value is not None and value < least:
                raise UserError(f'--{name} must be {least} or more, got {value}.')
        from vispropnet.apis.propagation import show_propagation

        found = show_propagation(
            args.config,
            args.checkpoint,
            Path(args.out),
            distance=args.distance,
            videos=args.videos,
            place=(args.video, args.frame),
            device=args.device,
            overrides=args.cfg_options,
            trust_checkpoint=args.trust_checkpoint,
        )
        print(f'{"distance":>8}{"carried":>10}{"copied":>10}{"masks":>8}')
        for one in found:
            print(f'{one.distance:>8}{one.carried:>10.4f}{one.copied:>10.4f}{one.count:>8}')
        print(args.out)


if __name__ == '__main__':
    main()
