"""The rules of annotation files in the YouTube-VIS form: the one place that says what is valid.

Training, scoring and splitting stop at the first error
(:class:`~vispropnet.datasets.check_report.StrictReport`); ``tools/check_data.py`` lists all, and
compares masks, boxes and areas besides.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from vispropnet.datasets.annotation_values import (
    MAX_SIDE,
    category_fault,
    is_area,
    is_box,
    is_no_box,
    name_fault,
    read_crowd,
)
from vispropnet.datasets.box_forms import BoxComparison
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.file_entries import NO_VIDEO, Entry, Track, Video, take_track
from vispropnet.datasets.other_forms import not_annotations
from vispropnet.datasets.polygons import draw_polygons, polygon_fault
from vispropnet.datasets.sparse_frames import annotated_frames_fault, find_stride
from vispropnet.datasets.track_masks import CheckedTrack, check_masks
from vispropnet.text import counted, shown

# How many frames a video may have that does not name them.
_MOST_FRAMES = (1 << 31) - 1


class AnnotationFile:
    """An annotation file, as far as it is sound. Videos and categories are checked at once.

    Args:
        content: The parsed file.
        report: Takes what is found.
        sparse: Whether keys may be missing that scoring can do without: sizes and file names of
            videos, names of categories, ids of annotations.
        annotated_only: Whether frames that show no object were not annotated, in videos that do not
            say so by ``annotated_frames``.
    """

    def __init__(
        self, content: Any, report: Report, sparse: bool = False, annotated_only: bool = False
    ) -> None:
        self.report, self._sparse, self._annotated_only = report, sparse, annotated_only
        # By video id the frames that show an object, as far as annotations were checked.
        self._shown: dict[int, set[int]] = defaultdict(set)
        self.videos: list[Video] = []
        self.by_id: dict[int, Video] = {}
        self.categories: dict[int, Any] = {}  # names by id, in file order
        self.polygons = 0  # masks given so
        self.annotations: list[Any] | None = None  # not checked; None where the file has none
        # Those that annotations refer to, as far as these were checked.
        self.used_videos: set[int | None] = set()
        self.used_categories: set[int | None] = set()
        other_form = not_annotations(content)
        self.is_other = other_form is not None or not isinstance(content, dict)
        if self.is_other:
            text = 'the file must hold an object with videos, categories and annotations'
            report.error('structure', other_form or f'{text}, found {shown(content)}')
            return
        for number, video in enumerate(self._entries(content, 'videos')):
            self._check_video(Video(video, report, {'list': 'videos', 'entry': number}))
        for number, category in enumerate(self._entries(content, 'categories')):
            self._check_category(Entry(category, report, {'list': 'categories', 'entry': number}))
        annotations = content.get('annotations')
        if annotations is not None and not isinstance(annotations, list):
            text = f"key 'annotations' must be a list, found {shown(annotations)}"
            report.error('structure', text)
            annotations = []
        self.annotations = annotations

    def checked_tracks(self, annotations: Iterable[Any]) -> Iterator[CheckedTrack]:
        """Checks entries of ``annotations``, their masks, and if boxes are those of the masks.

        Yields:
            Annotations that have a list of masks, in order; polygons as RLEs.
        """
        boxes = BoxComparison()
        for checked in check_masks(self._drawn(self.tracks(annotations)), self.report, True):
            _check_lists(checked)
            boxes.add(checked)
            self._check_shown(checked)
            yield checked
        if self.polygons:
            text = f'{counted(self.polygons, "mask")} given as polygons, drawn as by pycocotools'
            self.report.note('polygons', text)
        if (fault := boxes.fault()) is not None:
            self.report.error('box form', fault)

    def annotated_frames(self, video: Video) -> list[int] | None:
        """Gives the annotated frames of a video whose annotations were checked; None for all."""
        if video.annotated is None and self._annotated_only:
            return sorted(self._shown[video.known.get('id')])
        return video.annotated

    def note_sparse_frames(self) -> None:
        """Notes, after the annotations were checked, if separate frames seem to be annotated."""
        videos = [video for video in self.by_id.values() if self.annotated_frames(video) is None]
        shown = [(sorted(self._shown[video.known['id']]), video.frames) for video in videos]
        if (frames := find_stride(shown)) is not None:
            text = (
                f'objects show on {frames} and count as absent on the others. If only those frames '
                "were annotated, list them under 'annotated_frames' of each video, or use "
                '--annotated-only (annotated_only=True of the evaluator)'
            )
            self.report.note('sparse frames', text)

    def tracks(self, annotations: Iterable[Any]) -> Iterator[Track]:
        """Checks annotations but for the entries of their lists; see :meth:`checked_tracks`."""
        first: dict[int, int] = {}
        for number, annotation in enumerate(annotations):
            entry = Entry(annotation, self.report, {'list': 'annotations', 'entry': number})
            self.report.look_at(annotations=1)
            if not entry.is_object():
                continue
            if not (self._sparse and 'id' not in annotation):
                _check_annotation_id(entry, first)
            video_id = entry.take_reference('video', self.by_id)
            category_id = entry.take_reference('category', self.categories)
            self.used_videos.add(video_id)
            self.used_categories.add(category_id)
            if read_crowd(annotation) is None:
                text = f"'iscrowd' must be 0 or 1, found {shown(annotation['iscrowd'])}"
                entry.error('iscrowd', text)
            video = self.by_id.get(video_id, NO_VIDEO)
            for key in ('bboxes', 'areas'):
                if annotation.get(key) is not None:
                    entry.check_length(key, video.frames)
            if track := take_track(entry, video):
                yield track

    def _drawn(self, tracks: Iterable[Track]) -> Iterator[Track]:
        """Gives the tracks with RLEs in place of polygons, except for faulty ones."""
        for track in tracks:
            for frame, mask in enumerate(track.masks):
                is_list = isinstance(mask, list) and mask
                if is_list and polygon_fault(mask, track.video.known) is None:
                    track.masks[frame] = draw_polygons(mask, track.video.known)
                    self.polygons += 1
            yield track

    def _check_shown(self, checked: CheckedTrack) -> None:
        track = checked.track
        shown = {checked.frames[index] for index in np.flatnonzero(checked.areas)}
        self._shown[track.video.known.get('id')] |= shown
        if track.video.annotated is not None and (odd := shown.difference(track.video.annotated)):
            text = 'the object has a mask here, but the frame is not among the annotated_frames'
            track.error('annotated frames', text, min(odd))

    def _entries(self, content: dict[str, Any], key: str) -> list[Any]:
        entries = content.get(key)
        if not isinstance(entries, list):
            found = Entry(content, self.report, {}).found(key)
            self.report.error('structure', f'key {key!r} must be a list, {found}')
            return []
        if not entries:
            self.report.error('structure', f'there are no {key}: expected at least one', list=key)
        return entries

    def _check_category(self, category: Entry) -> None:
        if not category.is_object():
            return
        name = category.value.get('name')
        fault = category_fault(name)
        if fault is not None and not (self._sparse and 'name' not in category.value):
            category.error('structure', f"'name' {fault}, {category.found('name')}")
        identity = category.take_id('id')
        if identity in self.categories:
            text = f'this id is that of {shown(self.categories[identity])} already'
            category.error('duplicate id', text, category_id=identity)
        elif identity is not None:
            self.categories[identity] = name

    def _check_video(self, video: Video) -> None:
        if not video.is_object():
            return
        self.videos.append(video)
        identity = video.take_id('id')
        if identity is not None:
            video.known['id'] = video.place['video_id'] = identity
        for key in ('height', 'width'):
            side = video.value.get(key)
            if type(side) is int and 0 < side <= MAX_SIDE:
                video.known[key] = side
            elif type(side) is int:
                text = f'{key!r} must be from 1 to {MAX_SIDE}, found {shown(side)}'
                video.error('structure', text)
            elif not (self._sparse and key not in video.value):
                video.take_id(key)
        self._check_frames(video)
        annotated = video.value.get('annotated_frames')
        if (fault := annotated_frames_fault(annotated, video.frames)) is not None:
            text = f"'annotated_frames' {fault}, found {shown(annotated)}"
            video.error('annotated frames', text)
        elif annotated is not None:
            video.annotated = sorted(annotated)
        if identity in self.by_id:
            first = self.by_id[identity].place['entry']
            video.error('duplicate id', f'this id is that of videos[{first}] already')
        elif identity is not None:
            self.by_id[identity] = video

    def _check_frames(self, video: Video) -> None:
        """Checks the file names, or else the length, which give the number of frames."""
        names, length = video.value.get('file_names'), video.value.get('length')
        if isinstance(names, list) and names:
            video.names, video.frames = names, len(names)
            if 'length' in video.value and (type(length) is not int or length != len(names)):
                text = f"'length' is {shown(length)}, but 'file_names' has {len(names)} entries"
                video.error('length', text)
            _check_names(video)
            return
        if not (self._sparse and 'file_names' not in video.value):
            text = "'file_names' must be a list of at least one frame"
            video.error('structure', f'{text}, {video.found("file_names")}')
        if type(length) is int and 0 <= length <= _MOST_FRAMES:
            video.frames = length
        elif 'length' in video.value:
            video.error('length', f"'length' must be a number of frames, found {shown(length)}")


def _check_names(video: Video) -> None:
    seen: dict[str, int] = {}
    for frame, name in enumerate(video.names):
        fault = name_fault(name)
        if not isinstance(name, str) or not name:
            place = {**video.place, 'frame': frame}
            video.report.error('structure', f'{fault}, found {shown(name)}', **place)
            continue
        if fault is not None:
            video.error('file name', fault, frame)
        first = seen.setdefault(posixpath.normpath(name), frame)
        if first != frame:
            video.warn('repeated frame', f'the same file as frame {first}', frame)
    # Sorted as strings or as people count (9.jpg before 10.jpg): either may be the order in time.
    order = list(seen)
    if order == sorted(order):
        return
    for before, name in itertools.pairwise(order):
        if _natural_key(name) < _natural_key(before):
            text = f'sorts before the frame before it ({before}): expected the order in time'
            video.warn('frame order', text, seen[name])
            return


def _natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts runs of digits as numbers: every second part, by length without leading zeros."""
    parts = re.split(r'([0-9]+)', name)
    parts[1::2] = [digits.lstrip('0') for digits in parts[1::2]]
    return [(len(part) if index % 2 else 0, part) for index, part in enumerate(parts)]


def _check_annotation_id(annotation: Entry, first: dict[int, int]) -> None:
    identity = annotation.take_id('id')
    if identity is None:
        return
    annotation.place['annotation_id'] = identity
    number = first.setdefault(identity, annotation.place['entry'])
    if number != annotation.place['entry']:
        text = f'this id is that of annotations[{number}] already'
        annotation.error('duplicate id', text, video_id=annotation.value.get('video_id'))
    elif identity == 0:
        text = 'the id is 0, which mmdet takes for missing (vispropnet does not)'
        annotation.warn('annotation id 0', text)


def _check_lists(checked: CheckedTrack) -> None:
    """Checks the entries of ``bboxes`` and ``areas``."""
    track = checked.track
    loose = []
    for frame, box in enumerate(track.per_frame('bboxes')):
        if box is None or (is_box(box) and any(box)):
            continue
        if is_no_box(box):
            loose.append(frame)
        else:
            text = f'a box must be null or [x, y, width, height], found {shown(box)}'
            track.error('structure', text, frame)
    areas = dict(zip(checked.frames, checked.areas, strict=True)) if loose else {}
    if contradicted := [frame for frame in loose if areas.get(frame)]:
        box = track.value['bboxes'][contradicted[0]]
        text = f'the box is {shown(box)}, but the object has a mask'
        track.error('box', text, contradicted[0])
    elif loose:
        text = f'{len(loose)} boxes are [] or zeros: expected null where the object is not visible'
        track.warn('absent object', text, loose[0])
    for frame, area in enumerate(track.per_frame('areas')):
        if area is not None and not is_area(area):
            text = f'an area must be null or a number from 0 on, found {shown(area)}'
            track.error('structure', text, frame)
