"""Reading and checking YouTube-VIS annotation files (2019, 2021, OVIS and custom ones)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from vispropnet.datasets.findings import shown
from vispropnet.datasets.rle import examine_rles
from vispropnet.datasets.values import (
    MAX_SIDE,
    category_fault,
    is_box,
    is_id,
    is_number,
    is_side,
    name_fault,
)
from vispropnet.errors import UserError
from vispropnet.fileio import read_json

VIDEO_KEYS = ('id', 'width', 'height', 'file_names')
ANNOTATION_KEYS = ('id', 'video_id', 'category_id', 'segmentations')
# What is wrong with masks, by video id and frame.
MaskFaults = dict[tuple[int, int], str]


def read_annotation_file(
    path: str | os.PathLike, hint: str = '', mask_faults: MaskFaults | None = None
) -> dict[str, Any]:
    """Reads an annotation file and checks that it hangs together.

    Checked are the keys and kinds of values, references between parts, one entry per frame in every
    list, that file names stay in the image folder, and that every RLE is sound and of its video's
    size. Frames on disk are not touched.

    Args:
        path: The JSON file.
        hint: How to get the file, for the message when it is missing.
        mask_faults: Takes what is wrong with masks, which then are None; by default the first such
            mask is an error.

    Returns:
        The parsed file, its RLEs in compressed form. ``annotations`` is ``None`` where the file has
        none (validation and test files of the official sets).

    Raises:
        UserError: naming the file, the video or annotation, and what was expected.
    """
    content = read_json(path, 'annotation file', hint)
    if not isinstance(content, dict):
        raise UserError(
            f'annotation file {path}: expected an object with videos, categories and annotations, '
            f'found a {type(content).__name__}.'
        )
    for key in ('videos', 'categories'):
        if not isinstance(content.get(key), list):
            found = 'is missing' if key not in content else 'is not a list'
            raise UserError(f'annotation file {path}: key {key!r} {found}.')
    for number, category in enumerate(content['categories']):
        where = f'annotation file {path}: categories[{number}]'
        _require_keys(category, ('id', 'name'), where)
        _require_ids(category, ('id',), where)
        fault = category_fault(category['name'])
        if fault is not None:
            raise UserError(f'{where}: name {fault}, found {shown(category["name"])}.')
    ids = [category['id'] for category in content['categories']]
    if len(set(ids)) < len(ids):
        raise UserError(f'annotation file {path}: a category id stands twice: {shown(ids)}.')
    videos = _check_videos(content['videos'], path)
    content.setdefault('annotations', None)
    if content['annotations'] is not None:
        categories = {category['id'] for category in content['categories']}
        _check_annotations(content['annotations'], videos, categories, path, mask_faults)
    return content


def _check_videos(videos: list, path: str | os.PathLike) -> dict[int, dict]:
    by_id: dict[int, dict] = {}
    for number, video in enumerate(videos):
        where = f'annotation file {path}: videos[{number}]'
        _require_keys(video, VIDEO_KEYS, where)
        _require_ids(video, ('id',), where)
        where = f'annotation file {path}: video {video["id"]}'
        if video['id'] in by_id:
            raise UserError(f'{where} stands twice.')
        if not isinstance(video['file_names'], list) or not video['file_names']:
            raise UserError(f'{where}: file_names must be a list of at least one frame.')
        length = video.get('length', len(video['file_names']))
        if type(length) is not int or length != len(video['file_names']):
            raise UserError(
                f'{where}: length is {shown(length)}, but file_names has '
                f'{len(video["file_names"])} entries.'
            )
        for key in ('width', 'height'):
            if not is_side(video[key]):
                raise UserError(
                    f'{where}: {key} must be an integer from 1 to {MAX_SIDE}, found '
                    f'{shown(video[key])}.'
                )
        for frame, name in enumerate(video['file_names']):
            fault = name_fault(name)
            if fault is not None:
                raise UserError(f'{where}, frame {frame} ({shown(name)}): {fault}.')
        by_id[video['id']] = video
    return by_id


def _check_annotations(
    annotations: Any,
    videos: dict[int, dict],
    categories: set[int],
    path: str | os.PathLike,
    mask_faults: MaskFaults | None,
) -> None:
    if not isinstance(annotations, list):
        raise UserError(f"annotation file {path}: key 'annotations' is not a list.")
    seen = set()
    for number, annotation in enumerate(annotations):
        where = f'annotation file {path}: annotations[{number}]'
        _require_keys(annotation, ANNOTATION_KEYS, where)
        _require_ids(annotation, ('id', 'video_id', 'category_id'), where)
        where = f'annotation file {path}: annotation {annotation["id"]}'
        if annotation['id'] in seen:
            raise UserError(f'{where} stands twice.')
        seen.add(annotation['id'])
        video = videos.get(annotation['video_id'])
        if video is None:
            raise UserError(f'{where}: video_id {annotation["video_id"]} is not among the videos.')
        if annotation['category_id'] not in categories:
            raise UserError(
                f'{where}: category_id {annotation["category_id"]} is not among the categories.'
            )
        if annotation.get('iscrowd') not in (None, 0, 1):
            raise UserError(
                f'{where}: iscrowd must be 0 or 1, found {shown(annotation["iscrowd"])}.'
            )
        _check_lists(annotation, video, where)
        _check_masks(annotation, video, where, mask_faults)


def _check_lists(annotation: dict, video: dict, where: str) -> None:
    for key, is_sound, wanted in (
        ('segmentations', None, ''),
        ('bboxes', is_box, '[x, y, width, height]'),
        ('areas', is_number, 'a number'),
    ):
        entries = annotation.get(key)
        if entries is None and key != 'segmentations':
            continue
        if not isinstance(entries, list):
            raise UserError(f'{where}: {key} must be a list, found {shown(entries)}.')
        if len(entries) != len(video['file_names']):
            raise UserError(
                f'{where}: {key} has {len(entries)} entries, but video {video["id"]} has '
                f'{len(video["file_names"])} frames.'
            )
        for frame, entry in enumerate(entries if is_sound else ()):
            if entry is not None and not is_sound(entry):
                raise UserError(
                    f'{where}, video {video["id"]}, frame {frame}: {key} must hold null or '
                    f'{wanted}, found {shown(entry)}.'
                )


def _check_masks(annotation: dict, video: dict, where: str, mask_faults: MaskFaults | None) -> None:
    masks = annotation['segmentations']
    frames = [frame for frame, mask in enumerate(masks) if mask is not None]
    rles, _, faults = examine_rles([masks[frame] for frame in frames], [video] * len(frames))
    for index, fault in faults.items():
        frame = frames[index]
        if mask_faults is None:
            name = video['file_names'][frame]
            raise UserError(f'{where}, video {video["id"]}, frame {frame} ({name}): {fault}')
        mask_faults.setdefault((video['id'], frame), f'annotation {annotation["id"]}: {fault}')
    for frame, rle in zip(frames, rles, strict=True):
        masks[frame] = rle


def _require_ids(entry: dict, keys: Iterable[str], where: str) -> None:
    for key in keys:
        if not is_id(entry[key]):
            raise UserError(f'{where}: {key} must be an integer, found {shown(entry[key])}.')


def _require_keys(entry: Any, keys: Iterable[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise UserError(f'{where}: expected an object, found a {type(entry).__name__}.')
    for key in keys:
        if key not in entry:
            raise UserError(f'{where}: key {key!r} is missing.')
