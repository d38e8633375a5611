"""Everything that is wrong in an annotation file, also what does not stop its readers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.annotation_values import is_area, is_box, read_crowd
from vispropnet.datasets.box_forms import TOLERANCE, are_near
from vispropnet.datasets.categories import labels_of, odd_names, select_categories
from vispropnet.datasets.check_report import WARNING, Report
from vispropnet.datasets.track_masks import CheckedTrack
from vispropnet.errors import UserError
from vispropnet.fileio import read_json
from vispropnet.text import first_of, shown


def check_annotations(
    path: str | os.PathLike,
    report: Report,
    hint: str = '',
    for_training: bool = False,
    progress: bool = True,
    annotated_only: bool = False,
) -> AnnotationFile:
    """Checks an annotation file. Frames on disk are not touched.

    Args:
        path: The file.
        report: Takes what is found.
        hint: Advice on getting the file, for the message when it is missing.
        for_training: Whether it is to be trained on, for which it needs annotations.
        progress: Whether to show a progress bar (on a terminal).
        annotated_only: As for ``AnnotationFile``.

    Returns:
        The file, without its annotations.

    Raises:
        UserError: if the file is missing or no JSON.
    """
    content = read_json(path, 'annotation file', hint)
    file = AnnotationFile(content, report, annotated_only=annotated_only)
    _check_category_names(file, report)
    annotations, file.annotations = file.annotations, None
    if file.is_other:
        return file
    report.look_at(videos=len(file.videos), annotations=0, masks=0)
    if annotations is None:
        text = 'the file has no annotations (official validation and test files have none)'
        if for_training:
            report.error('no annotations', f'{text}: training needs them')
        else:
            report.warn('no annotations', f'{text}: nothing to train on or to score against')
        return file
    trainable = False
    bar = tqdm(annotations, f'masks of {path}', disable=None if progress else True)
    for checked in file.checked_tracks(bar):
        _check_boxes(checked)
        _check_areas(checked)
        _check_presence(checked)
        trainable |= checked.areas.any() and read_crowd(checked.track.value) is False
    file.note_sparse_frames()
    if any(one.kind == 'box form' for one in report.findings):
        # Single boxes tell no more.
        report.findings = [
            one for one in report.findings if (one.kind, one.severity) != ('box', WARNING)
        ]
    _check_use(file, report)
    if for_training and not trainable:
        report.error('nothing to train on', 'no frame shows an object that is not a crowd')
    return file


def compare_categories(
    file: AnnotationFile,
    trained: Mapping[str, int],
    category_map: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
) -> None:
    """Checks that a model that learns the categories ``trained`` (ids by name) knows a file's.

    Args:
        file: The file; its report takes what is found.
        trained: Of the data to train on.
        category_map: As of :func:`~vispropnet.datasets.categories.select_categories`.
        classes: Likewise.
    """
    try:
        names = select_categories(file.categories, category_map, classes)
        labels = set(labels_of(list(names.values()), list(trained)))
    except UserError as error:
        text = str(error).rstrip('.')
        file.report.error('other categories than for training', text, list='categories')
        return
    absent = [name for label, name in enumerate(trained) if label not in labels]
    if absent:
        text = f'{len(absent)} of those to train on are not in this file: {first_of(absent, 10)}'
        file.report.warn('fewer categories than for training', text, list='categories')


def _check_boxes(checked: CheckedTrack) -> None:
    boxes = dict(zip(checked.frames, checked.boxes.tolist(), strict=True))
    for frame, entry in enumerate(checked.track.per_frame('bboxes')):
        # Entries of another form are matters of the rules.
        if frame in checked.faulty or not (entry is None or (is_box(entry) and any(entry))):
            continue
        fault = _box_fault(entry, boxes.get(frame))
        if fault is not None:
            checked.track.warn('box', fault, frame)


def _box_fault(entry: list[float] | None, box: list[float] | None) -> str | None:
    """Compares a box of the file with the mask's; None is no box, and no mask."""
    if box is None or box[2] == 0:
        # What a mask without pixels should have in place of a box, nobody says.
        if entry is None or (box is not None and min(entry[2:]) <= 0):
            return None
        return f'the box is {shown(entry)}, but the mask is {"empty" if box else "null"}'
    if entry == box or (entry and are_near(np.array([entry], float), np.array([box]))[0]):
        return None
    wanted = list(map(int, box))
    if entry is None:
        return f'there is a mask, but no box: that of the mask is taken, {wanted}'
    return f'the box is {shown(entry)}, but that of the mask is {wanted} ([x, y, width, height])'


def _check_areas(checked: CheckedTrack) -> None:
    areas = dict(zip(checked.frames, checked.areas.tolist(), strict=True))
    for frame, entry in enumerate(checked.track.per_frame('areas')):
        area = areas.get(frame, 0)
        sound = frame not in checked.faulty and (entry is None or is_area(entry))
        if sound and abs((entry or 0) - area) > TOLERANCE:
            text = f'the area is {shown(entry)}, but the mask has {area} pixels'
            checked.track.warn('area', text, frame)


def _check_presence(checked: CheckedTrack) -> None:
    for frame, area in zip(checked.frames, checked.areas.tolist(), strict=True):
        if area == 0 and frame not in checked.faulty:
            text = 'the mask has no pixels: expected null where the object is not visible'
            checked.track.warn('empty mask', text, frame)
    if not checked.areas.any() and not checked.faulty:
        text = 'no frame has a mask with pixels: scoring counts an object that cannot be found'
        checked.track.warn('empty track', text)


def _check_category_names(file: AnnotationFile, report: Report) -> None:
    for identity, fault in odd_names(file.categories).items():
        report.warn('category name', fault, category_id=identity)


def _check_use(file: AnnotationFile, report: Report) -> None:
    for identity, name in file.categories.items():
        if identity not in file.used_categories:
            text = f'{shown(name)} has no annotation'
            report.warn('category without annotations', text, category_id=identity)
    for identity, video in file.by_id.items():
        if identity not in file.used_videos:
            video.warn('video without annotations', 'it has no annotation')
