"""Reading YouTube-VIS annotation files (2019, 2021, OVIS and custom ones)."""

from __future__ import annotations

import logging
import os
from typing import Any

from mmengine.logging import print_log

from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.annotation_values import read_crowd
from vispropnet.datasets.check_report import WARNING, StrictReport
from vispropnet.datasets.track_masks import DAMAGED, OTHER_SIZE
from vispropnet.fileio import read_json

# What is wrong with masks, by video id and frame.
MaskFaults = dict[tuple[int, int], str]


def read_annotation_file(
    path: str | os.PathLike,
    hint: str = '',
    mask_faults: MaskFaults | None = None,
    boxes: str = 'masks',
) -> dict[str, Any]:
    """Reads an annotation file that keeps the rules. Frames on disk are not touched.

    Args:
        path: The JSON file.
        hint: Advice on getting the file, for the message when it is missing.
        mask_faults: Takes what is wrong with masks, which then are None; by default the first such
            mask is an error.
        boxes: ``'masks'`` puts those of the masks in place of the file's, ``'file'`` only where the
            file has none.

    Returns:
        The parsed file: RLEs compressed, None for objects that are absent, a box for each mask,
        ``iscrowd`` 0 or 1.
        ``annotations`` is None where the file has none (validation and test files of the official
        sets).

    Raises:
        UserError: for the first error, see :mod:`vispropnet.datasets.annotation_rules`; it names
            the file, the entry, the frame, what was found and what was expected.
    """
    content = read_json(path, 'annotation file', hint)
    tolerated = () if mask_faults is None else (DAMAGED, OTHER_SIZE)
    report = StrictReport(f'annotation file {path}', tolerated)
    file = AnnotationFile(content, report)
    content.setdefault('annotations', None)
    for checked in file.checked_tracks(file.annotations or ()):
        entry = checked.track.value
        given = checked.track.per_frame('bboxes') if boxes == 'file' else ()
        entry.update(
            segmentations=[None] * len(checked.track.masks),
            bboxes=[None] * len(checked.track.masks),
            iscrowd=int(read_crowd(entry)),
        )
        found = zip(checked.frames, checked.rles, checked.boxes.tolist(), strict=True)
        for frame, rle, box in found:
            if box[2] > 0:
                own = given and given[frame]
                entry['segmentations'][frame] = rle
                entry['bboxes'][frame] = own if own and min(own[2:]) > 0 else box
    for note in report.notes():
        print_log(f'{report.file}: {note}.', 'current', logging.WARNING)
    for finding in report.findings:
        if finding.severity == WARNING:
            continue
        place = finding.where
        text = f'annotation {place["annotation_id"]}: {finding.text}'
        mask_faults.setdefault((place['video_id'], place['frame']), text)
    return content
