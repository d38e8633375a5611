"""A local validation set: an annotation file divided by whole videos, stratified by category.

The ground truth of the official validation sets is hidden, so what is to be scored at home has to
come out of the training set. A file and a seed give the same bytes on every machine.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from pathlib import Path
from typing import Any

from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.annotation_values import read_crowd
from vispropnet.datasets.check_report import StrictReport
from vispropnet.datasets.stratification import TRAIN, VALID, stratify
from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path, read_json, write_json

FILE_NAMES = ('train.json', 'valid.json')


def split_file(
    source: str | os.PathLike,
    out_dir: str | os.PathLike,
    fraction: float,
    seed: int,
    force: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits an annotation file into ``train.json`` and ``valid.json``, both or neither.

    Args:
        source: The annotation file. Both parts refer to its image folder.
        out_dir: Folder for the two files; made if it is missing.
        fraction: As in :func:`split_annotations`, likewise ``seed``.
        seed: From 0.
        force: Whether files that are already there may be replaced.

    Returns:
        Contents of the two files.

    Raises:
        UserError: for options out of range, outputs that exist or cannot be written, and input that
            cannot be read or split.
    """
    _check_options(fraction, seed)
    targets = [Path(out_dir) / name for name in FILE_NAMES]
    for target in targets:
        if os.path.realpath(target) == os.path.realpath(source):
            advice = 'would be overwritten: choose another --out-dir'
            raise UserError(f'{target} is the file to be split and {advice}.')
    taken = [str(target) for target in targets if os.path.lexists(target)]
    if taken and not force:
        raise UserError(f'already there: {", ".join(taken)}; --force replaces what is there.')
    parts = split_annotations(read_divisible(source), fraction, seed, f'annotation file {source}')
    try:
        # Neither gets its name before both are written.
        with atomic_path(targets[0]) as train, atomic_path(targets[1]) as valid:
            write_json(train, parts[0])
            write_json(valid, parts[1])
    except OSError as error:
        raise UserError(f'cannot write to {out_dir}: {error.strerror}.') from None
    return parts


def read_divisible(path: str | os.PathLike) -> dict[str, Any]:
    """Reads an annotation file that has annotations and keeps the rules, else a ``UserError``.

    Returns:
        Its content, as it stands in the file.
    """
    content = read_json(path, 'annotation file')
    where = f'annotation file {path}'
    file = AnnotationFile(content, StrictReport(where))
    if file.annotations is None:
        raise UserError(
            f'{where} has no annotations (official validation and test files have none): split the '
            'training file.'
        )
    for _ in file.checked_tracks(file.annotations):
        pass
    return content


def split_annotations(
    content: dict[str, Any], fraction: float, seed: int, where: str = 'the annotations'
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides the videos of an annotation file, with their annotations, into two parts.

    Validation gets ``round(fraction * videos)`` videos, at least one and not all of them, chosen
    as :func:`~vispropnet.datasets.stratification.stratify` says. Videos without objects are shared
    out too. Crowds do not count as objects: they are neither trained on nor scored.

    Args:
        content: What :func:`read_divisible` returned. It is not changed.
        fraction: Share of videos for validation, between 0 and 1.
        seed: From 0.
        where: How messages call the content.

    Returns:
        The training and the validation part: the content with its videos and annotations divided,
        in their order, and all else the same in both. Entries are shared with ``content``.

    Raises:
        UserError: for options out of range, fewer than two videos, or fewer than two with objects.
    """
    _check_options(fraction, seed)
    videos = content['videos']
    if len(videos) < 2:
        raise UserError(f'{where}: splitting takes at least 2 videos, found {len(videos)}.')
    held = _categories_held(content)
    with_objects = sum(map(bool, held))
    if with_objects < 2:
        raise UserError(
            f'{where}: {with_objects} of {len(videos)} videos hold objects (crowds left out), but '
            'training and validation need one each.'
        )
    num_valid = min(max(round(fraction * len(videos)), 1), len(videos) - 1)
    sides = stratify(held, len(content['categories']), num_valid, seed)
    side_of = {video['id']: side for video, side in zip(videos, sides, strict=True)}
    parts = []
    for side in (TRAIN, VALID):
        own = [one for one in content['annotations'] if side_of[one['video_id']] == side]
        own_videos = [video for video in videos if side_of[video['id']] == side]
        parts.append({**content, 'videos': own_videos, 'annotations': own})
    return tuple(parts)


def count_by_category(content: dict[str, Any]) -> list[tuple[int, int]]:
    """Counts for each category of an annotation file, in file order, its videos and its objects.

    Crowds are left out.
    """
    videos = Counter(itertools.chain.from_iterable(_categories_held(content)))
    objects = Counter(one['category_id'] for one in content['annotations'] if not read_crowd(one))
    ids = [category['id'] for category in content['categories']]
    return [(videos[number], objects[identity]) for number, identity in enumerate(ids)]


def _categories_held(content: dict[str, Any]) -> list[list[int]]:
    """For each video the positions, ascending, of the categories it holds objects of."""
    number = {category['id']: index for index, category in enumerate(content['categories'])}
    held: dict[Any, set[int]] = {video['id']: set() for video in content['videos']}
    for annotation in content['annotations']:
        if not read_crowd(annotation):
            held[annotation['video_id']].add(number[annotation['category_id']])
    return [sorted(held[video['id']]) for video in content['videos']]


def _check_options(fraction: float, seed: int) -> None:
    if not 0 < fraction < 1:
        text = 'the fraction of videos for validation must lie between 0 and 1'
        raise UserError(f'{text}, got {fraction}.')
    if seed < 0:
        raise UserError(f'the seed must be at least 0, got {seed}.')
