"""The rules of annotation files in the YouTube-VIS form: the one place that says what is valid.

Training, scoring and splitting stop at the first error (:class:`StrictReport`);
``tools/check_data.py`` lists all, and compares masks, boxes and areas besides.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vispropnet.datasets.annotation_values import (
    MAX_SIDE,
    category_fault,
    is_area,
    is_box,
    is_id,
    is_no_box,
    name_fault,
    read_crowd,
)
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.track_masks import NO_VIDEO, CheckedTrack, Track, Video, check_masks
from vispropnet.errors import UserError
from vispropnet.text import shown

# How many frames a video may have that does not name them.
_MOST_FRAMES = (1 << 31) - 1


class StrictReport(Report):
    """Raises the first error, and passes over warnings.

    Args:
        file: Name of the file in messages.
        tolerated: Kinds of errors that are kept as findings instead.
    """

    def __init__(self, file: str, tolerated: Collection[str] = ()) -> None:
        super().__init__(file)
        self._tolerated = tolerated

    def error(self, kind: str, text: str, **where: Any) -> None:
        """Raises the error unless its kind is tolerated; see the base class."""
        super().error(kind, text, **where)
        if kind not in self._tolerated:
            raise UserError(f'{self.findings[-1].line(self.file).rstrip(".")}.')

    def warn(self, kind: str, text: str, **where: Any) -> None:
        """Passes over the warning."""


@dataclass
class Contents:
    """An annotation file, as far as it is sound.

    Args:
        videos: All videos.
        by_id: The videos by id.
        categories: Names of the categories by id, in file order.
        annotations: Entries of ``annotations``, not checked; None where the file has none.
        used_videos: Ids of videos that annotations refer to, as far as they were checked.
        used_categories: Likewise, of categories.
    """

    videos: list[Video] = field(default_factory=list)
    by_id: dict[int, Video] = field(default_factory=dict)
    categories: dict[int, Any] = field(default_factory=dict)
    annotations: list[Any] | None = None
    used_videos: set[int] = field(default_factory=set)
    used_categories: set[int] = field(default_factory=set)


def check_contents(content: Any, report: Report, sparse: bool = False) -> Contents:
    """Checks the videos and categories of an annotation file.

    Args:
        content: The parsed file.
        report: Takes what is found.
        sparse: Whether keys may be missing that scoring can do without: sizes and file names of
            videos, names of categories.

    Returns:
        What is sound of it.
    """
    contents = Contents()
    if not isinstance(content, dict):
        is_list = isinstance(content, list)
        found = 'a list, which is what a result file holds' if is_list else shown(content)
        report.error(
            'structure',
            f'the file must hold an object with videos, categories and annotations, found {found}',
        )
        return contents
    for number, video in enumerate(_entries(content, 'videos', report)):
        _check_video(video, {'list': 'videos', 'entry': number}, contents, report, sparse)
    for number, category in enumerate(_entries(content, 'categories', report)):
        place = {'list': 'categories', 'entry': number}
        _check_category(category, place, contents, report, sparse)
    annotations = content.get('annotations')
    if annotations is not None and not isinstance(annotations, list):
        report.error('structure', f"key 'annotations' must be a list, found {shown(annotations)}")
        annotations = []
    contents.annotations = annotations
    return contents


def checked_tracks(
    annotations: Iterable[Any],
    contents: Contents,
    report: Report,
    sparse: bool = False,
    with_boxes: bool = False,
) -> Iterator[CheckedTrack]:
    """Checks annotations and their masks.

    Args:
        annotations: The entries of ``annotations``.
        contents: Videos and categories; takes which of them are used.
        report: Takes what is found.
        sparse: Whether annotations may be without ``id``, and categories without ``name``.
        with_boxes: Whether the masks' boxes are wanted.

    Yields:
        Annotations that have a list of masks, in order.
    """
    tracks = iter_tracks(annotations, contents, report, sparse)
    for track in check_masks(tracks, report, with_boxes):
        _check_lists(track, report)
        yield track


def iter_tracks(
    annotations: Iterable[Any], contents: Contents, report: Report, sparse: bool = False
) -> Iterator[Track]:
    """Checks annotations but for their masks; see :func:`checked_tracks`."""
    first: dict[int, int] = {}
    for number, entry in enumerate(annotations):
        place: dict[str, Any] = {'list': 'annotations', 'entry': number}
        report.look_at(annotations=1)
        if not isinstance(entry, dict):
            report.error('structure', f'must be an object, found {shown(entry)}', **place)
            continue
        _check_annotation_id(entry, place, first, report, sparse)
        video_id = reference(entry, 'video', contents.by_id, place, report)
        category_id = reference(entry, 'category', contents.categories, place, report)
        contents.used_videos.add(video_id)
        contents.used_categories.add(category_id)
        if read_crowd(entry) is None:
            text = f"'iscrowd' must be 0 or 1, found {shown(entry['iscrowd'])}"
            report.error('iscrowd', text, **place)
        video = contents.by_id.get(video_id, NO_VIDEO)
        for key in ('bboxes', 'areas'):
            if entry.get(key) is not None:
                check_length(entry[key], key, video.frames, place, report)
        if track := sound_track(entry, video, place, report):
            yield track


def reference(
    entry: Mapping[str, Any],
    what: str,
    known: Collection[int],
    place: dict[str, Any],
    report: Report,
) -> int | None:
    """Checks what an annotation or a result refers to.

    Args:
        entry: An object of the file.
        what: ``'video'`` or ``'category'``.
        known: The ids that there are.
        place: Place of the entry; takes the id of a video.
        report: Takes what is found.

    Returns:
        The id, known or not; None if it is no id.
    """
    key = f'{what}_id'
    identity = sound_id(entry, key, place, report)
    if identity is None:
        return None
    if what == 'video':
        place[key] = identity
    if identity not in known:
        plural = {'video': 'videos', 'category': 'categories'}[what]
        text = f'{key} {identity} is not among the {plural} of the annotation file'
        report.error(f'unknown {what}', text, **place)
    return identity


def sound_id(
    entry: Mapping[str, Any], key: str, place: Mapping[str, Any], report: Report
) -> int | None:
    """Takes an id from an entry.

    Args:
        entry: An object of the file.
        key: Its key.
        place: Place of the entry, as in :class:`~vispropnet.datasets.check_report.Finding`.
        report: Takes what is found.

    Returns:
        The id; None if it is missing or no integer.
    """
    if key not in entry:
        report.error('structure', f'key {key!r} is missing, expected an integer', **place)
    elif is_id(entry[key]):
        return entry[key]
    else:
        bound = ' of at most 64 bits' * (type(entry[key]) is int)
        text = f'{key!r} must be an integer{bound}, found {shown(entry[key])}'
        report.error('structure', text, **place)
    return None


def sound_track(
    entry: dict[str, Any], video: Video, place: dict[str, Any], report: Report
) -> Track | None:
    """Takes the masks of an annotation or a result, not looking into them.

    Args:
        entry: An object of the file.
        video: Its video.
        place: Place of the entry, as in :class:`~vispropnet.datasets.check_report.Finding`.
        report: Takes what is found.

    Returns:
        The track; None if it has no list of masks.
    """
    if 'segmentations' not in entry:
        text = "key 'segmentations' is missing, expected a list with one RLE or null per frame"
        report.error('structure', text, **place)
        return None
    masks = entry['segmentations']
    check_length(masks, 'segmentations', video.frames, place, report)
    return Track(entry, video, place) if isinstance(masks, list) else None


def check_length(
    entries: Any, key: str, frames: int | None, place: Mapping[str, Any], report: Report
) -> None:
    """Checks a list that must have one entry per frame.

    Args:
        entries: What should be the list.
        key: Its key.
        frames: Number of frames of the video, None if that is not known.
        place: Place of the entry, as in :class:`~vispropnet.datasets.check_report.Finding`.
        report: Takes what is found.
    """
    if not isinstance(entries, list):
        report.error('structure', f'{key!r} must be a list, found {shown(entries)}', **place)
    elif frames is not None and len(entries) != frames:
        text = f'{key!r} has {len(entries)} entries, but the video has {frames} frames'
        report.error('number of entries', text, **place)


def compare_categories(report: Report, contents: Contents, other: str, others: Contents) -> None:
    """Checks that a file has the categories of the one that a model learns from.

    A model knows categories by their position in the file: in another order, or with some left
    out, its labels mean something else.

    Args:
        report: Takes what is found.
        contents: The file to be checked.
        other: Name of the file that the model learns from.
        others: That file.
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
        report.error('structure', f'key {key!r} must be a list, {_found(content, key)}')
        return []
    if not entries:
        report.error('structure', f'there are no {key}: expected at least one', list=key)
    return entries


def _found(entry: Mapping[str, Any], key: str) -> str:
    return f'found {shown(entry[key])}' if key in entry else 'but it is missing'


def _check_category(
    category: Any, place: dict[str, Any], contents: Contents, report: Report, sparse: bool
) -> None:
    if not isinstance(category, dict):
        report.error('structure', f'must be an object, found {shown(category)}', **place)
        return
    name = category.get('name')
    fault = category_fault(name)
    if fault is not None and not (sparse and 'name' not in category):
        report.error('structure', f"'name' {fault}, {_found(category, 'name')}", **place)
    identity = sound_id(category, 'id', place, report)
    if identity in contents.categories:
        text = f'this id is that of {shown(contents.categories[identity])} already'
        report.error('duplicate id', text, **place, category_id=identity)
    elif identity is not None:
        contents.categories[identity] = name


def _check_video(
    video: Any, place: dict[str, Any], contents: Contents, report: Report, sparse: bool
) -> None:
    if not isinstance(video, dict):
        report.error('structure', f'must be an object, found {shown(video)}', **place)
        return
    known = {}
    identity = sound_id(video, 'id', place, report)
    if identity is not None:
        known['id'] = place['video_id'] = identity
    for key in ('height', 'width'):
        if sparse and key not in video:
            continue
        side = video.get(key)
        if type(side) is not int:
            sound_id(video, key, place, report)
        elif not 0 < side <= MAX_SIDE:
            text = f'{key!r} must be from 1 to {MAX_SIDE}, found {shown(side)}'
            report.error('structure', text, **place)
        else:
            known[key] = side
    names = video.get('file_names')
    if (not isinstance(names, list) or not names) and not (sparse and 'file_names' not in video):
        text = f"'file_names' must be a list of at least one frame, {_found(video, 'file_names')}"
        report.error('structure', text, **place)
    names = names if isinstance(names, list) and names else None
    one = Video(place, known, names, _frames(video, names, place, report))
    contents.videos.append(one)
    if names is not None:
        _check_names(one, report)
    if identity in contents.by_id:
        first = contents.by_id[identity].place['entry']
        report.error('duplicate id', f'this id is that of videos[{first}] already', **place)
    elif identity is not None:
        contents.by_id[identity] = one


def _frames(
    video: dict[str, Any], names: list | None, place: dict[str, Any], report: Report
) -> int | None:
    """Number of frames by the file names, or else by ``length``; the two must agree."""
    length = video.get('length')
    if names is not None:
        if 'length' in video and (type(length) is not int or length != len(names)):
            text = f"'length' is {shown(length)}, but 'file_names' has {len(names)} entries"
            report.error('length', text, **place)
        return len(names)
    if 'length' in video and (type(length) is not int or not 0 <= length <= _MOST_FRAMES):
        text = f"'length' must be a number of frames, found {shown(length)}"
        report.error('length', text, **place)
        return None
    return length


def _check_names(video: Video, report: Report) -> None:
    seen: dict[str, int] = {}
    for frame, name in enumerate(video.names):
        fault = name_fault(name)
        if not isinstance(name, str) or not name:
            report.error('structure', f'{fault}, found {shown(name)}', **video.place, frame=frame)
            continue
        if fault is not None:
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


def _check_annotation_id(
    annotation: dict, place: dict[str, Any], first: dict[int, int], report: Report, sparse: bool
) -> None:
    if sparse and 'id' not in annotation:
        return
    identity = sound_id(annotation, 'id', place, report)
    if identity is None:
        return
    place['annotation_id'] = identity
    number = first.setdefault(identity, place['entry'])
    if number != place['entry']:
        where = {'video_id': annotation.get('video_id'), **place}
        report.error('duplicate id', f'this id is that of annotations[{number}] already', **where)
    elif identity == 0:
        text = 'the id is 0, which mmdet takes for missing (vispropnet does not)'
        report.warn('annotation id 0', text, **place)


def _check_lists(checked: CheckedTrack, report: Report) -> None:
    """Checks the entries of ``bboxes`` and ``areas``, and how absent objects are written."""
    track = checked.track
    masks = track.entry['segmentations']
    loose = [frame for frame, mask in enumerate(masks) if mask == []]
    if loose:
        text = f'{len(loose)} masks are []: expected null where the object is not visible'
        report.warn('absent object', text, **track.frame_place(loose[0]))
    loose = []
    for frame, box in enumerate(per_frame(track, 'bboxes')):
        if box is None or (is_box(box) and any(box)):
            continue
        if is_no_box(box):
            loose.append(frame)
        else:
            text = f'a box must be null or [x, y, width, height], found {shown(box)}'
            report.error('structure', text, **track.frame_place(frame))
    areas = dict(zip(checked.frames, checked.areas, strict=True)) if loose else {}
    if contradicted := [frame for frame in loose if areas.get(frame)]:
        box = track.entry['bboxes'][contradicted[0]]
        text = f'the box is {shown(box)}, but the object has a mask'
        report.error('box', text, **track.frame_place(contradicted[0]))
    elif loose:
        text = f'{len(loose)} boxes are [] or zeros: expected null where the object is not visible'
        report.warn('absent object', text, **track.frame_place(loose[0]))
    for frame, area in enumerate(per_frame(track, 'areas')):
        if area is not None and not is_area(area):
            text = f'an area must be null or a number from 0 on, found {shown(area)}'
            report.error('structure', text, **track.frame_place(frame))


def per_frame(track: Track, key: str) -> list[Any]:
    """Takes a list that goes with the masks of a track.

    Args:
        track: The track.
        key: ``'bboxes'`` or ``'areas'``.

    Returns:
        Its entries; none if there is no such list, or it is of another length.
    """
    entries = track.entry.get(key)
    fits = isinstance(entries, list) and len(entries) == len(track.entry['segmentations'])
    return entries if fits else []
