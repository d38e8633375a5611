"""Finds all that is wrong with a result file, not only the first fault."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.file_entries import NO_VIDEO, Entry, Track, take_track
from vispropnet.datasets.track_masks import CheckedTrack, check_masks
from vispropnet.evaluation.matching import TRACK_LIMIT
from vispropnet.evaluation.result_file import ARCHIVED_NAME, iter_results
from vispropnet.fileio import NotAListError
from vispropnet.text import first_of, shown


def check_results(path: str | os.PathLike, file: AnnotationFile, report: Report) -> None:
    """Checks a result file against the annotation file it is for; tracks are read one by one.

    Args:
        path: The result file.
        file: The annotation file.
        report: Takes what is found.

    Raises:
        UserError: if the file is missing or no JSON; what was found until then is in the report.
    """
    counts: Counter[tuple[int, int]] = Counter()
    digests: dict[bytes, int] = {}
    report.look_at(videos=len(file.videos), tracks=0, frames=0, masks=0)
    _check_archive(path, report)
    tracks = _tracks(iter_results(path, progress=True), file, counts, report)
    try:
        for checked in check_masks(tracks, report):
            _check_masks(checked)
            _check_repetition(checked, digests)
    except NotAListError as error:
        report.error('structure', str(error))
        return
    for (video_id, category_id), number in counts.items():
        if number > TRACK_LIMIT:
            text = f'{number} tracks: only the {TRACK_LIMIT} with the best scores count'
            report.warn('more tracks than count', text, video_id=video_id, category_id=category_id)
    with_tracks = {video_id for video_id, _ in counts}
    for video_id in file.by_id:
        if video_id not in with_tracks:
            report.warn('video without tracks', 'it has no track', video_id=video_id)


def _check_archive(path: str | os.PathLike, report: Report) -> None:
    """Holds an archive to the rule of the evaluation server; reading it explains other damage."""
    names = [ARCHIVED_NAME]
    if os.fspath(path).lower().endswith('.zip'):
        with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    if names != [ARCHIVED_NAME]:
        report.error(
            'archive',
            f'it holds {first_of(map(shown, names), 5) or "nothing"}; the server takes an archive '
            f'with {ARCHIVED_NAME} at its root, alone: zip -j FILE.zip {ARCHIVED_NAME}',
        )


def _tracks(
    entries: Iterator[Any], file: AnnotationFile, counts: Counter, report: Report
) -> Iterator[Track]:
    """Checks the entries but for their masks, and gives those that have a list of masks."""
    for number, value in enumerate(entries):
        entry = Entry(value, report, {'entry': number})
        report.look_at(tracks=1)
        if not entry.is_object():
            continue
        video_id = entry.take_reference('video', file.by_id)
        category_id = entry.take_reference('category', file.categories)
        if None not in (video_id, category_id):
            counts[video_id, category_id] += 1
        _check_score(entry)
        track = take_track(entry, file.by_id.get(video_id, NO_VIDEO))
        if track is not None:
            report.look_at(frames=len(track.masks))
            yield track


def _check_score(entry: Entry) -> None:
    score = entry.value.get('score')
    if 'score' not in entry.value:
        entry.error('structure', "key 'score' is missing, expected a number")
    elif type(score) not in (int, float):
        entry.error('structure', f"'score' must be a number, found {shown(score)}")
    elif not 0 <= score <= 1:  # true of what is not a number, too
        entry.error('score', f"'score' must be from 0 to 1, found {shown(score)}")


def _check_masks(checked: CheckedTrack) -> None:
    track = checked.track
    for frame in checked.frames:
        mask = track.masks[frame]
        if isinstance(mask, dict) and isinstance(mask.get('counts'), list):
            text = "'counts' is a list: expected a string, the compressed form"
            track.error('uncompressed mask', text, frame)
    if not checked.areas.any() and not checked.faulty:
        track.warn('track without masks', 'no frame has a mask with pixels')


def _check_repetition(checked: CheckedTrack, digests: dict[bytes, int]) -> None:
    entry = checked.track.value
    parts = [repr(entry.get(key)) for key in ('video_id', 'category_id', 'score')]
    rles = dict(zip(checked.frames, checked.rles, strict=True))
    for frame, mask in enumerate(entry['segmentations']):
        # A damaged mask stands for itself.
        rle = rles.get(frame)
        parts.append(rle['counts'] if rle else '' if mask is None else repr(mask))
    text = '\n'.join(parts).encode('utf-8', 'surrogatepass')
    digest = hashlib.blake2b(text, digest_size=16).digest()
    number = checked.track.place['entry']
    first = digests.setdefault(digest, number)
    if first != number:
        text = f'video, category, score and masks are those of entry {first}'
        checked.track.warn('repeated track', text)
