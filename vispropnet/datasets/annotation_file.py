"""Reading and checking YouTube-VIS annotation files (2019, 2021, OVIS and custom ones)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from pycocotools import mask as mask_utils

from vispropnet.errors import UserError
from vispropnet.fileio import read_json

VIDEO_KEYS = ('id', 'width', 'height', 'file_names')
ANNOTATION_KEYS = ('id', 'video_id', 'category_id', 'segmentations')


def read_annotation_file(path: str | os.PathLike, hint: str = '') -> dict[str, Any]:
    """Reads an annotation file and checks that it hangs together.

    Checked are the keys, references between parts, one entry per frame in every list, and the size
    of every RLE. Frames on disk are not touched.

    Args:
        path: The JSON file.
        hint: How to get the file, for the message when it is missing.

    Returns:
        The parsed file. ``annotations`` is ``None`` where the file has none (validation and test
        files of the official sets).

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
        _require_keys(category, ('id', 'name'), f'annotation file {path}: categories[{number}]')
    videos = _check_videos(content['videos'], path)
    content.setdefault('annotations', None)
    if content['annotations'] is not None:
        categories = {category['id'] for category in content['categories']}
        _check_annotations(content['annotations'], videos, categories, path)
    return content


def compressed_rle(segmentation: dict[str, Any]) -> dict[str, Any]:
    """Gives an RLE in compressed form.

    Args:
        segmentation: ``{size: [h, w], counts}``, ``counts`` a string or bytes (compressed) or a
            list of run lengths.

    Returns:
        The same mask, ``counts`` a compressed string (mmdet takes masks with bytes for invalid).
    """
    counts = segmentation['counts']
    if isinstance(counts, list):
        counts = mask_utils.frPyObjects(segmentation, *segmentation['size'])['counts']
    if isinstance(counts, bytes):
        counts = counts.decode('ascii')
    return {'size': segmentation['size'], 'counts': counts}


def _check_videos(videos: list, path: str | os.PathLike) -> dict[Any, dict]:
    by_id: dict[Any, dict] = {}
    for number, video in enumerate(videos):
        where = f'annotation file {path}: videos[{number}]'
        _require_keys(video, VIDEO_KEYS, where)
        where = f'annotation file {path}: video {video["id"]}'
        if video['id'] in by_id:
            raise UserError(f'{where} stands twice.')
        if not isinstance(video['file_names'], list) or not video['file_names']:
            raise UserError(f'{where}: file_names must be a list of at least one frame.')
        length = video.get('length', len(video['file_names']))
        if length != len(video['file_names']):
            raise UserError(
                f'{where}: length is {length}, but file_names has '
                f'{len(video["file_names"])} entries.'
            )
        by_id[video['id']] = video
    return by_id


def _check_annotations(
    annotations: Any, videos: dict[Any, dict], categories: set, path: str | os.PathLike
) -> None:
    if not isinstance(annotations, list):
        raise UserError(f"annotation file {path}: key 'annotations' is not a list.")
    for number, annotation in enumerate(annotations):
        where = f'annotation file {path}: annotations[{number}]'
        _require_keys(annotation, ANNOTATION_KEYS, where)
        where = f'annotation file {path}: annotation {annotation["id"]}'
        video = videos.get(annotation['video_id'])
        if video is None:
            raise UserError(f'{where}: video_id {annotation["video_id"]} is not among the videos.')
        if annotation['category_id'] not in categories:
            raise UserError(
                f'{where}: category_id {annotation["category_id"]} is not among the categories.'
            )
        for key in ('segmentations', 'bboxes', 'areas'):
            entries = annotation.get(key)
            if entries is not None and len(entries) != len(video['file_names']):
                raise UserError(
                    f'{where}: {key} has {len(entries)} entries, but video {video["id"]} has '
                    f'{len(video["file_names"])} frames.'
                )
        _check_masks(annotation, video, where)


def _check_masks(annotation: dict, video: dict, where: str) -> None:
    expected = [video['height'], video['width']]
    for frame, segmentation in enumerate(annotation['segmentations']):
        if segmentation is None:
            continue
        place = f'{where}, video {video["id"]}, frame {frame} ({video["file_names"][frame]})'
        if not isinstance(segmentation, dict):
            raise UserError(
                f'{place}: expected an RLE ({{"size", "counts"}}) or null, '
                f'found a {type(segmentation).__name__}.'
            )
        _require_keys(segmentation, ('size', 'counts'), place)
        if list(segmentation['size']) != expected:
            raise UserError(
                f'{place}: the RLE is of size {list(segmentation["size"])} (height, width), '
                f'the video of size {expected}.'
            )


def _require_keys(entry: Any, keys: Iterable[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise UserError(f'{where}: expected an object, found a {type(entry).__name__}.')
    for key in keys:
        if key not in entry:
            raise UserError(f'{where}: key {key!r} is missing.')
