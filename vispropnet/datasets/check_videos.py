"""What is wrong with the videos and categories of an annotation file."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vispropnet.datasets.findings import Report, shown
from vispropnet.datasets.values import MAX_SIDE, category_fault, name_fault
from vispropnet.fileio import read_json


@dataclass
class Video:
    """What is sound of an entry of ``videos``.

    Args:
        place: Where it stands, as in :class:`~vispropnet.datasets.findings.Finding`.
        known: ``id``, ``height`` and ``width`` as far as they are sound.
        names: ``file_names``, None if that is no list; single names may be unusable.
    """

    place: dict[str, Any]
    known: dict[str, int]
    names: list[Any] | None

    def frame_place(self, frame: int) -> dict[str, Any]:
        """Names a frame.

        Args:
            frame: Number of the frame.

        Returns:
            The place, as in :class:`~vispropnet.datasets.findings.Finding`.
        """
        return {**self.place, 'frame': frame, 'file_name': self.names[frame]}


@dataclass
class Contents:
    """What an annotation file says, as far as it is sound.

    Args:
        videos: All videos.
        by_id: The videos by id.
        categories: Names of the categories by id, in file order.
        annotations: The value of ``annotations``, not checked; None where there is none.
    """

    videos: list[Video] = field(default_factory=list)
    by_id: dict[int, Video] = field(default_factory=dict)
    categories: dict[int, Any] = field(default_factory=dict)
    annotations: Any = None


def check_contents(path: str | os.PathLike, report: Report, hint: str = '') -> Contents:
    """Reads an annotation file and checks its videos and categories.

    Args:
        path: The file.
        report: Takes what is found.
        hint: How to get the file, for the message when it is missing.

    Returns:
        What is sound of it.

    Raises:
        UserError: if the file is missing or no JSON.
    """
    content = read_json(path, 'annotation file', hint)
    contents = Contents()
    if not isinstance(content, dict):
        report.error(
            'structure',
            'the file must hold an object with videos, categories and annotations, found '
            f'{shown(content)}',
        )
        return contents
    for number, video in enumerate(_entries(content, 'videos', report)):
        _check_video(video, {'list': 'videos', 'entry': number}, contents, report)
    for number, category in enumerate(_entries(content, 'categories', report)):
        _check_category(category, {'list': 'categories', 'entry': number}, contents, report)
    contents.annotations = content.get('annotations')
    return contents


def sound_integer(
    entry: Mapping[str, Any], key: str, place: Mapping[str, Any], report: Report
) -> int | None:
    """Takes an integer from an entry.

    Args:
        entry: An object of the file.
        key: Its key.
        place: Where the entry stands, as in :class:`~vispropnet.datasets.findings.Finding`.
        report: Takes what is found.

    Returns:
        The number; None if it is missing or no integer.
    """
    if key not in entry:
        report.error('structure', f'key {key!r} is missing, expected an integer', **place)
        return None
    if type(entry[key]) is not int:
        report.error('structure', f'{key!r} must be an integer, found {shown(entry[key])}', **place)
        return None
    return entry[key]


def check_length(
    entries: Any, key: str, frames: int | None, place: Mapping[str, Any], report: Report
) -> bool:
    """Checks a list that must have one entry per frame.

    Args:
        entries: What should be the list.
        key: Its key.
        frames: How many frames the video has, None if that is not known.
        place: Where it stands, as in :class:`~vispropnet.datasets.findings.Finding`.
        report: Takes what is found.

    Returns:
        Whether it is a list of that length.
    """
    if not isinstance(entries, list):
        report.error('structure', f'{key!r} must be a list, found {shown(entries)}', **place)
        return False
    if frames is not None and len(entries) != frames:
        report.error(
            'number of entries',
            f'{key!r} has {len(entries)} entries, but the video has {frames} frames',
            **place,
        )
        return False
    return True


def compare_categories(report: Report, contents: Contents, other: str, others: Contents) -> None:
    """Checks that a file has the categories of the one that a model learns from.

    A model knows categories by their position in the file: in another order, or with some left
    out, its labels mean something else.

    Args:
        report: Takes what is found.
        contents: The file to be checked.
        other: Name of the file that the model learns from.
        others: What that file says.
    """
    mine, theirs = ([shown(name) for name in one.categories.values()] for one in (contents, others))
    if mine == theirs or not mine or not theirs:
        return
    kind = 'other categories than for training'
    if len(mine) != len(theirs):
        text = f'{len(mine)} categories, but {other} has {len(theirs)}'
        report.error(kind, text, list='categories')
        return
    position = next(i for i in range(len(mine)) if mine[i] != theirs[i])
    # Other names may be a renaming.
    add = report.error if set(mine) == set(theirs) else report.warn
    text = f'{mine[position]} stands where {other} has {theirs[position]}'
    add(kind, text, list='categories', entry=position)


def _entries(content: dict[str, Any], key: str, report: Report) -> list[Any]:
    entries = content.get(key)
    if not isinstance(entries, list):
        found = f'found {shown(entries)}' if key in content else 'but it is missing'
        report.error('structure', f'key {key!r} must be a list, {found}')
        return []
    if not entries:
        report.error('structure', f'there are no {key}: expected at least one', list=key)
    return entries


def _check_category(
    category: Any, place: dict[str, Any], contents: Contents, report: Report
) -> None:
    if not isinstance(category, dict):
        report.error('structure', f'must be an object, found {shown(category)}', **place)
        return
    name = category.get('name')
    if (fault := category_fault(name)) is not None:
        found = f'found {shown(name)}' if 'name' in category else 'but it is missing'
        report.error('structure', f"'name' {fault}, {found}", **place)
    identity = sound_integer(category, 'id', place, report)
    if identity is None:
        return
    if identity in contents.categories:
        text = f'this id is that of {shown(contents.categories[identity])} already'
        report.error('duplicate id', text, **place, category_id=identity)
        return
    contents.categories[identity] = name


def _check_video(video: Any, place: dict[str, Any], contents: Contents, report: Report) -> None:
    if not isinstance(video, dict):
        report.error('structure', f'must be an object, found {shown(video)}', **place)
        return
    known = {}
    identity = sound_integer(video, 'id', place, report)
    if identity is not None:
        known['id'] = place['video_id'] = identity
    for key in ('height', 'width'):
        side = sound_integer(video, key, place, report)
        if side is not None and not 0 < side <= MAX_SIDE:
            report.error(
                'structure', f'{key!r} must be from 1 to {MAX_SIDE}, found {shown(side)}', **place
            )
        elif side is not None:
            known[key] = side
    names = video.get('file_names')
    if not isinstance(names, list) or not names:
        found = f'found {shown(names)}' if 'file_names' in video else 'but it is missing'
        text = f"'file_names' must be a list of at least one frame, {found}"
        report.error('structure', text, **place)
        names = None
    one = Video(place, known, names)
    contents.videos.append(one)
    if names is not None:
        _check_names(one, report)
        length = video.get('length', len(names))
        if type(length) is not int or length != len(names):
            text = f"'length' is {shown(length)}, but 'file_names' has {len(names)} entries"
            report.error('length', text, **place)
    if identity in contents.by_id:
        first = contents.by_id[identity].place['entry']
        report.error('duplicate id', f'this id is that of videos[{first}] already', **place)
    elif identity is not None:
        contents.by_id[identity] = one


def _check_names(video: Video, report: Report) -> None:
    seen: dict[str, int] = {}
    for frame, name in enumerate(video.names):
        if not isinstance(name, str) or not name:
            text = f'a file name must be a string that is not empty, found {shown(name)}'
            report.error('structure', text, **video.place, frame=frame)
            continue
        if (fault := name_fault(name)) is not None:
            report.error('file name', fault, **video.frame_place(frame))
        first = seen.setdefault(posixpath.normpath(name), frame)
        if first != frame:
            text = f'the same file as frame {first}'
            report.warn('repeated frame', text, **video.frame_place(frame))
    # Sorted as strings or as people count (9.jpg before 10.jpg): either may be the order in time.
    order = list(seen)
    if order != sorted(order) and (frame := _first_unsorted(order)) is not None:
        text = f'sorts before the frame before it ({order[frame - 1]}): expected the order in time'
        report.warn('frame order', text, **video.frame_place(seen[order[frame]]))


def _first_unsorted(names: list[str]) -> int | None:
    keys = [_natural_key(name) for name in names]
    return next((i for i in range(1, len(keys)) if keys[i] < keys[i - 1]), None)


def _natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts runs of digits as numbers: every second part, by length without leading zeros."""
    parts = re.split(r'([0-9]+)', name)
    parts[1::2] = [digits.lstrip('0') for digits in parts[1::2]]
    return [(len(part) if index % 2 else 0, part) for index, part in enumerate(parts)]
