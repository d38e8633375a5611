"""What is wrong with an annotation file, all of it and not only the first thing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from vispropnet.datasets.check_masks import LookedAt, Track, look_at_masks
from vispropnet.datasets.check_videos import (
    Contents,
    Video,
    check_contents,
    check_length,
    sound_integer,
)
from vispropnet.datasets.findings import Report, shown
from vispropnet.datasets.values import is_box, is_number

# Boxes and areas may be rounded, or count a box's last pixel differently.
_TOLERANCE = 1


def check_annotations(
    path: str | os.PathLike,
    report: Report,
    hint: str = '',
    for_training: bool = False,
    progress: bool = True,
) -> Contents:
    """Checks an annotation file. Frames on disk are not touched.

    Args:
        path: The file.
        report: Takes what is found.
        hint: How to get the file, for the message when it is missing.
        for_training: Whether it is to be trained on, for which it needs annotations.
        progress: Whether to show a progress bar (on a terminal).

    Returns:
        What is sound of its videos and categories.

    Raises:
        UserError: if the file is missing or no JSON.
    """
    contents = check_contents(path, report, hint)
    annotations, contents.annotations = contents.annotations, None
    report.look_at(videos=len(contents.videos), annotations=0, masks=0)
    if annotations is None:
        text = 'the file has no annotations (official validation and test files have none)'
        if for_training:
            report.error('no annotations', f'{text}: training needs them')
        else:
            report.warn('no annotations', f'{text}: nothing to train on or to score against')
        return contents
    if not isinstance(annotations, list):
        text = f"key 'annotations' must be a list, found {shown(annotations)}"
        report.error('structure', text)
        return contents
    used = _Used()
    bar = tqdm(annotations, f'masks of {path}', disable=None if progress else True)
    for seen in look_at_masks(_tracks(bar, contents, used, report), report, with_boxes=True):
        _check_boxes(seen, report)
        _check_areas(seen, report)
        _check_presence(seen, used, report)
    _check_use(contents, used, report)
    if for_training and not used.trainable:
        report.error('nothing to train on', 'no frame shows an object that is not a crowd')
    return contents


class _Used:
    """What the annotations refer to."""

    def __init__(self) -> None:
        self.ids: dict[int, int] = {}  # number of the entry by annotation id
        self.videos: set[int] = set()
        self.categories: set[int] = set()
        self.trainable = False


def _tracks(
    annotations: Iterator[Any], contents: Contents, used: _Used, report: Report
) -> Iterator[Track]:
    """Checks the annotations but for their masks, and gives those that have a list of masks."""
    for number, annotation in enumerate(annotations):
        place: dict[str, Any] = {'list': 'annotations', 'entry': number}
        report.look_at(annotations=1)
        if not isinstance(annotation, dict):
            report.error('structure', f'must be an object, found {shown(annotation)}', **place)
            continue
        _check_id(annotation, place, used, report)
        video = _find_video(annotation, place, contents, used, report)
        _check_category(annotation, place, contents, used, report)
        crowd = annotation.get('iscrowd', 0)
        if type(crowd) is not int or crowd not in (0, 1):
            report.error('iscrowd', f"'iscrowd' must be 0 or 1, found {shown(crowd)}", **place)
        names = None if video is None else video.names
        frames = None if names is None else len(names)
        if 'segmentations' not in annotation:
            report.error('structure', "key 'segmentations' is missing, expected a list", **place)
            continue
        for key in ('bboxes', 'areas'):
            if annotation.get(key) is not None:
                check_length(annotation[key], key, frames, place, report)
        masks = annotation['segmentations']
        check_length(masks, 'segmentations', frames, place, report)
        if isinstance(masks, list):
            yield Track(annotation, {} if video is None else video.known, names, place)


def _check_id(annotation: dict, place: dict[str, Any], used: _Used, report: Report) -> None:
    identity = sound_integer(annotation, 'id', place, report)
    if identity is None:
        return
    place['annotation_id'] = identity
    first = used.ids.setdefault(identity, place['entry'])
    if first != place['entry']:
        where = {'video_id': annotation.get('video_id'), **place}
        report.error('duplicate id', f'this id is that of annotations[{first}] already', **where)
    elif identity == 0:
        text = 'the id is 0, which mmdet takes for missing (vispropnet does not)'
        report.warn('annotation id 0', text, **place)


def _find_video(
    annotation: dict, place: dict[str, Any], contents: Contents, used: _Used, report: Report
) -> Video | None:
    video_id = sound_integer(annotation, 'video_id', place, report)
    if video_id is None:
        return None
    place['video_id'] = video_id
    used.videos.add(video_id)
    if video_id not in contents.by_id:
        report.error('unknown video', f'video_id {video_id} is not among the videos', **place)
    return contents.by_id.get(video_id)


def _check_category(
    annotation: dict, place: dict[str, Any], contents: Contents, used: _Used, report: Report
) -> None:
    category = sound_integer(annotation, 'category_id', place, report)
    if category is None:
        return
    used.categories.add(category)
    if category not in contents.categories:
        text = f'category_id {category} is not among the categories'
        report.error('unknown category', text, **place)


def _check_boxes(seen: LookedAt, report: Report) -> None:
    boxes = dict(zip(seen.frames, seen.boxes.tolist(), strict=True))
    for frame, entry in _per_frame(seen, 'bboxes'):
        if entry is not None and not is_box(entry):
            text = f'a box must be null or [x, y, width, height], found {shown(entry)}'
            report.error('structure', text, **seen.track.frame_place(frame))
        elif frame not in seen.faulty and (fault := _box_fault(entry, boxes.get(frame))):
            report.error('box', fault, **seen.track.frame_place(frame))


def _box_fault(entry: list[float] | None, box: list[float] | None) -> str | None:
    """Holds a box of the file against the mask's; None is no box, and no mask."""
    if box is None or box[2] == 0:
        # What a mask without pixels should have in place of a box, nobody says.
        if entry is None or (box is not None and min(entry[2:]) <= 0):
            return None
        return f'the box is {shown(entry)}, but the mask is {"empty" if box else "null"}'
    wanted = [int(side) for side in box]
    if entry is None:
        return f'there is a mask, but no box: expected {wanted}'
    # No side may be further off than is tolerated.
    corners = [(one[0], one[1], one[0] + one[2], one[1] + one[3]) for one in (entry, box)]
    if all(abs(a - b) <= _TOLERANCE for a, b in zip(*corners, strict=True)):
        return None
    return f'the box is {shown(entry)}, but that of the mask is {wanted} ([x, y, width, height])'


def _check_areas(seen: LookedAt, report: Report) -> None:
    areas = dict(zip(seen.frames, seen.areas.tolist(), strict=True))
    for frame, entry in _per_frame(seen, 'areas'):
        if entry is not None and not is_number(entry):
            text = f'an area must be null or a number, found {shown(entry)}'
            report.error('structure', text, **seen.track.frame_place(frame))
        elif frame not in seen.faulty:
            area = areas.get(frame, 0)
            if abs((entry or 0) - area) > _TOLERANCE:
                text = f'the area is {shown(entry)}, but the mask has {area} pixels'
                report.warn('area', text, **seen.track.frame_place(frame))


def _per_frame(seen: LookedAt, key: str) -> Iterator[tuple[int, Any]]:
    """Gives the entries of a list that goes with the masks; none if it is of another length."""
    entries = seen.track.entry.get(key)
    if isinstance(entries, list) and len(entries) == len(seen.track.entry['segmentations']):
        yield from enumerate(entries)


def _check_presence(seen: LookedAt, used: _Used, report: Report) -> None:
    for frame, area in zip(seen.frames, seen.areas.tolist(), strict=True):
        if area == 0 and frame not in seen.faulty:
            text = 'the mask has no pixels: expected null where the object is not visible'
            report.warn('empty mask', text, **seen.track.frame_place(frame))
    if seen.areas.any():
        used.trainable |= not seen.track.entry.get('iscrowd', 0)
    elif not seen.faulty:
        text = 'no frame has a mask with pixels: scoring counts an object that cannot be found'
        report.error('empty track', text, **seen.track.place)


def _check_use(contents: Contents, used: _Used, report: Report) -> None:
    for identity, name in contents.categories.items():
        if identity not in used.categories:
            text = f'{shown(name)} has no annotation'
            report.warn('category without annotations', text, category_id=identity)
    for identity, video in contents.by_id.items():
        if identity not in used.videos:
            report.warn('video without annotations', 'it has no annotation', **video.place)
