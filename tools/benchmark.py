"""Measures time and memory of ours beside a named baseline, in one run.

Runs alternate; times are medians. The last line printed is one JSON object with the figures and
what was measured; ratio is the baseline's time by ours, above 1 is faster.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from vispropnet.errors import report_user_errors

CONFIGS = Path(os.path.relpath(Path(__file__).resolve().parent.parent / 'configs'))
CONFIG = CONFIGS / 'masktrack_rcnn' / 'masktrack-rcnn_r50_fpn_1x_ytvis2019.py'
BASELINE = CONFIGS / 'mmdet_masktrack_rcnn' / 'mmdet-masktrack-rcnn_r50_fpn_1x_ytvis2019.py'


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='WHAT')
    shared = _shared_options()
    _add_propagation(commands, shared)
    _add_attention(commands, shared)
    _add_steps(commands, _shared_options((640, 360), 'the model pads them'))
    _add_evaluate(commands)
    _add_postprocess(commands)
    _add_memory(commands)
    _add_safety(commands)
    return parser.parse_args(arguments)


def _shared_options(
    size: tuple[int, int] = (640, 384), limits: str = 'multiples of 32'
) -> argparse.ArgumentParser:
    shared = _repeat_options()
    shared.add_argument(
        '--size',
        nargs=2,
        type=int,
        default=size,
        metavar=('WIDTH', 'HEIGHT'),
        help=f'of the frames in pixels, {limits} ({size[0]} {size[1]})',
    )
    shared.add_argument('--device', help='cpu or cuda (cuda where there is one)')
    shared.add_argument('--seed', type=int, default=0, help='of weights and inputs (%(default)s)')
    return shared


def _repeat_options() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument('--repeats', type=int, default=3, help='timed runs of each (%(default)s)')
    shared.add_argument(
        '--no-memory',
        dest='memory',
        action='store_false',
        help='do not measure memory, which on a CPU takes a further run of each',
    )
    return shared


def _add_propagation(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        'propagation',
        parents=[shared],
        help='masks of missing tracks, beside the definition written plainly',
    )
    for name, default, what in (
        ('--missing', 1, 'tracks that are missing in the current frame'),
        ('--tracks', 8, 'tracks in the history'),
        ('--history', 24, 'frames of the history'),
        ('--channels', 256, 'of the features'),
        ('--classes', 40, 'categories'),
    ):
        parser.add_argument(name, type=int, default=default, help=f'{what} (%(default)s)')
    parser.add_argument(
        '--fusion',
        choices=('masks', 'attention'),
        default='masks',
        help='what ours averages over the history (%(default)s)',
    )


def _add_attention(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        'attention', parents=[shared], help='the attention neck, beside its dense form'
    )
    parser.add_argument('--levels', type=int, default=5, help='of features (%(default)s)')
    parser.add_argument('--channels', type=int, default=256, help='of each level (%(default)s)')
    parser.add_argument(
        '--value',
        choices=('current', 'reference'),
        default='current',
        help='whose features are summed up (%(default)s)',
    )


def _add_steps(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    for name, what in (
        ('train', 'a training step'),
        ('infer', 'a test frame, from JPEG to encoded masks, no track missing,'),
    ):
        parser = commands.add_parser(
            name, parents=[shared], help=f'{what} of two configs on the same input'
        )
        parser.add_argument('--config', default=str(CONFIG), help='ours (%(default)s)')
        parser.add_argument('--baseline', default=str(BASELINE), help='its config (%(default)s)')
        parser.add_argument(
            '--objects',
            type=int,
            default=2,
            help='in a frame (%(default)s; YouTube-VIS 2019 has 1.7)',
        )
        if name == 'train':
            parser.add_argument('--batch-size', type=int, default=2, help='clips (%(default)s)')
            parser.add_argument(
                '--num-refs', type=int, default=1, help='reference frames of a clip (%(default)s)'
            )
            _add_options_of_ours(parser)
        else:
            parser.add_argument(
                '--detections', type=int, default=10, help='in a frame, of both (%(default)s)'
            )
            parser.add_argument(
                '--batch',
                type=int,
                default=1,
                metavar='K',
                help='frames that ours encodes at once; a run of both is K frames (%(default)s)',
            )
            parser.add_argument('--amp', choices=('bf16', 'fp16'), help='mixed precision of ours')
            parser.add_argument(
                '--same-test-cfg',
                action=argparse.BooleanOptionalAction,
                default=True,
                help='give the baseline the proposals and detections of --config (yes)',
            )


def _add_options_of_ours(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='mixed precision of ours')
    for name, what in (
        ('--channels-last', 'ours keeps the channels of a pixel together'),
        ('--compile', "ours compiles its backbone (the warm-up's time, a minute, is not counted)"),
        ('--options-table', 'measure ours with each of these options, and with several, in turn'),
    ):
        parser.add_argument(name, action='store_true', help=what)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'evaluate',
        parents=[_repeat_options()],
        help="the twelve figures of a drawn validation set, beside mmdet's YTVISeval",
    )
    for name, default, metavar, what in (
        ('--size', (1280, 720), ('WIDTH', 'HEIGHT'), 'of the frames in pixels'),
        ('--tracks', (10, 100), ('FEWEST', 'MOST'), 'of a video'),
    ):
        text = f'{what} ({default[0]} {default[1]})'
        parser.add_argument(name, nargs=2, type=int, default=default, metavar=metavar, help=text)
    for name, default, what in (
        ('--videos', 421, 'as many as YouTube-VIS 2021 has for validation'),
        ('--frames', 30, 'of a video, a fifth more or less'),
        ('--categories', 40, 'of objects'),
        ('--resamples', 1000, 'data sets of the bootstrap'),
        ('--seed', 0, 'of inputs and bootstrap'),
    ):
        parser.add_argument(name, type=int, default=default, help=f'{what} (%(default)s)')
    parser.add_argument(
        '--distinct', action='store_true', help='no mask stands twice; otherwise tracks share some'
    )


def _add_postprocess(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'postprocess',
        parents=[_shared_options((1280, 720), 'any')],
        help="from mask logits to encoded masks, beside mmdet's paste and encode",
    )
    parser.add_argument('--detections', type=int, default=100, help='in the frame (%(default)s)')
    parser.add_argument(
        '--sides',
        nargs=2,
        type=float,
        default=(0.05, 0.5),
        metavar=('SHORTEST', 'LONGEST'),
        help="of the boxes, as part of the frame's (0.05 0.5)",
    )


def _add_memory(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'memory', help="how memory grows with the length of a video, beside mmdet's tracker"
    )
    small = 'rcnn_r18_fpn_2e_moving-shapes.py'
    for name, folder, what in (
        ('--config', 'masktrack_rcnn/masktrack-', 'ours'),
        ('--baseline', 'mmdet_masktrack_rcnn/mmdet-masktrack-', 'its config'),
    ):
        parser.add_argument(
            name, default=str(CONFIGS / f'{folder}{small}'), help=f'{what} (%(default)s)'
        )
    for name, default, what in (
        ('--frames', 2000, 'of the video'),
        ('--short', 200, 'after so many frames is the memory that the end is compared with'),
        ('--detections', 10, 'in a frame'),
        ('--seed', 0, 'of weights and frames'),
    ):
        parser.add_argument(name, type=int, default=default, help=f'{what} (%(default)s)')
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        default=(320, 180),
        metavar=('WIDTH', 'HEIGHT'),
        help='of the frames in pixels, in which masks are made (320 180)',
    )
    parser.add_argument('--device', help='cpu or cuda (cuda where there is one)')


def _add_safety(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'safety',
        parents=[_shared_options((640, 360), 'the model pads them')],
        help='what checks and checkpoints cost a training step, beside a step without',
    )
    parser.add_argument('--config', default=str(CONFIG), help='whose (%(default)s)')
    for name, default, what in (
        ('--batch-size', 2, 'clips'),
        ('--objects', 2, 'in a frame'),
        ('--every', 1000, 'training steps from one checkpoint to the next'),
    ):
        parser.add_argument(name, type=int, default=default, help=f'{what} (%(default)s)')


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    options = vars(parse_args(arguments))
    command = options.pop('command')
    repeats, memory = options.pop('repeats', 1), options.pop('memory', True)
    options = {
        name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
    }
    with report_user_errors():
        if 'device' in options and options['device'] is None:
            import torch

            options['device'] = 'cuda' if torch.cuda.is_available() else 'cpu'
        if command == 'propagation':
            from benchmarking import propagation

            propagation.benchmark(propagation.Settings(**options), repeats, memory)
        elif command == 'attention':
            from benchmarking import attention

            attention.benchmark(attention.Settings(**options), repeats, memory)
        elif command == 'evaluate':
            from benchmarking import evaluate

            evaluate.benchmark(evaluate.Settings(**options), repeats, memory)
        elif command == 'postprocess':
            from benchmarking import postprocess

            postprocess.benchmark(postprocess.Settings(**options), repeats, memory)
        elif command == 'memory':
            from benchmarking import memory as video_memory

            video_memory.benchmark(video_memory.Settings(**options))
        elif command == 'safety':
            from benchmarking import safety

            settings = safety.SafetySettings(baseline=options['config'], **options)
            safety.benchmark_safety(settings, repeats)
        elif command == 'train':
            from benchmarking import train

            train.benchmark_train(train.TrainSettings(**options), repeats, memory)
        else:
            from benchmarking import infer

            infer.benchmark_infer(infer.InferSettings(**options), repeats, memory)


if __name__ == '__main__':
    main()
