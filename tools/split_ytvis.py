"""Splits off a local validation set: whole videos, stratified by category."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from vispropnet.errors import report_user_errors

# Trains on <data_root>/local/train.json and validates on <data_root>/local/valid.json.
LOCAL_CONFIG = 'configs/masktrack_rcnn/masktrack-rcnn_r50_fpn_1x_ytvis2021-local.py'
LOCAL_CLASSES = 40


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='Split the annotation file of a training set into OUT_DIR/train.json and '
        'OUT_DIR/valid.json: whole videos, stratified by category. Frames stay where they are. '
        'Same file and seed, same bytes.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('annotations', metavar='TRAIN.json', help='file in the YouTube-VIS form')
    parser.add_argument(
        '--val-fraction', type=float, default=0.1, metavar='F', help='share of the videos'
    )
    parser.add_argument('--seed', type=int, default=0, metavar='S', help='from 0')
    parser.add_argument(
        '--out-dir',
        required=True,
        default=argparse.SUPPRESS,
        metavar='D',
        help='folder for the two files',
    )
    parser.add_argument('--force', action='store_true', help='replace files that are there')
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the tool."""
    options = parse_arguments(arguments)
    with report_user_errors():
        from vispropnet.datasets.splits import FILE_NAMES, count_by_category, split_file

        parts = split_file(
            options.annotations,
            options.out_dir,
            options.val_fraction,
            options.seed,
            force=options.force,
        )
    counts = [count_by_category(part) for part in parts]
    names = [category['name'] for category in parts[0]['categories']]
    print('\n'.join([*format_table(names, parts, counts), *one_sided(names, counts)]))
    for what, name in zip(('training', 'validation'), FILE_NAMES, strict=True):
        print(f'{what}: {os.path.join(options.out_dir, name)}')
    command = training_command(Path(options.annotations), Path(options.out_dir), len(names))
    print(f'train and validate: {command}')


def format_table(
    names: list[Any], parts: tuple[dict, dict], counts: list[list[tuple[int, int]]]
) -> list[str]:
    """Lays out what either side holds, a line per category."""
    rows = [
        (str(name), train[0], valid[0], train[1], valid[1])
        for name, train, valid in zip(names, *counts, strict=True)
    ]
    videos = [len(part['videos']) for part in parts]
    objects = [sum(count for _, count in side) for side in counts]
    empty = [len(part['videos']) - videos_with_objects(part) for part in parts]
    if any(empty):
        rows.append(('(no object)', *empty, 0, 0))
    rows.append(('all', *videos, *objects))
    width = max(len('category'), *(len(row[0]) for row in rows))
    lines = [
        f'{"":{width}}  {"videos":>16}  {"objects":>16}',
        f'{"category":{width}}' + f'  {"train":>7}  {"valid":>7}' * 2,
    ]
    return lines + [
        f'{row[0]:{width}}' + ''.join(f'  {number:>7}' for number in row[1:]) for row in rows
    ]


def videos_with_objects(content: dict) -> int:
    """Counts the videos that hold an object that is no crowd."""
    from vispropnet.datasets.annotation_values import read_crowd

    return len({one['video_id'] for one in content['annotations'] if not read_crowd(one)})


def one_sided(names: list[Any], counts: list[list[tuple[int, int]]]) -> list[str]:
    """Says which categories are not on both sides, and why."""
    lines = []
    for name, (train, _), (valid, _) in zip(names, *counts, strict=True):
        if train and valid:
            continue
        side = 'training' if train else 'validation'
        if train + valid == 0:
            reason = 'no video holds an object of it'
        elif train + valid == 1:
            reason = f'only one video holds it, which is in {side}'
        else:
            reason = (
                f'all its {train + valid} videos are in {side}, no exchange found that would not '
                'cost another category a side'
            )
        lines.append(f'  {name}: {reason}')
    total = len(names)
    if not lines:
        return [f'categories on both sides: all {total}']
    return [f'categories on both sides: {total - len(lines)} of {total}; not on both:', *lines]


def training_command(source: Path, out_dir: Path, num_classes: int) -> str:
    """Composes the command that trains and validates with the two files."""
    source, out_dir = Path(os.path.abspath(source)), Path(os.path.abspath(out_dir))
    # The official layouts: ROOT/train.json (2019) and ROOT/train/instances.json (2021).
    root = source.parent.parent if source.parent.name == 'train' else source.parent
    folder = out_dir.relative_to(root) if out_dir.is_relative_to(root) else out_dir
    shown = root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root
    options = [f'data_root={shown}']
    config = LOCAL_CONFIG if num_classes == LOCAL_CLASSES else 'CONFIG'
    if config == 'CONFIG' or folder != Path('local'):
        options += [
            f'train_dataloader.dataset.ann_file={folder / "train.json"}',
            f'val_dataloader.dataset.ann_file={folder / "valid.json"}',
            'val_dataloader.dataset.data_prefix.img=train/JPEGImages',
            # The same options serve tools/test_video.py.
            f'test_dataloader.dataset.ann_file={folder / "valid.json"}',
            'test_dataloader.dataset.data_prefix.img=train/JPEGImages',
        ]
    command = shlex.join(['python', 'tools/train.py', config, '--cfg-options', *options])
    if config == 'CONFIG':
        command += f'  (CONFIG: one for {num_classes} categories that validates)'
    return command


if __name__ == '__main__':
    main()
