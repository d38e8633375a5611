"""What is wrong with a result file, all of it and not only the first thing."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from vispropnet.datasets.annotation_rules import Contents, reference, sound_track
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.track_masks import NO_VIDEO, CheckedTrack, Track, check_masks
from vispropnet.evaluation.result_file import RESULT_KEYS, iter_results
from vispropnet.fileio import NotAListError
from vispropnet.text import shown

# How many tracks of a video and category are scored: the best.
_MAX_TRACKS = 100


def check_results(
    path: str | os.PathLike, contents: Contents, report: Report, progress: bool = True
) -> None:
    """Checks a result file against the annotation file it is for.

    Tracks are read one by one: a large file is never held.

    Args:
        path: The result file.
        contents: What the annotation file says.
        report: Takes what is found.
        progress: Whether to show a progress bar (on a terminal).

    Raises:
        UserError: if the file is missing or no JSON; what was found until then is in the report.
    """
    counts: Counter[tuple[int, int]] = Counter()
    digests: dict[bytes, int] = {}
    report.look_at(videos=len(contents.videos), tracks=0, frames=0, masks=0)
    bar = tqdm(iter_results(path), f'tracks of {path}', disable=None if progress else True)
    try:
        for checked in check_masks(_tracks(bar, contents, counts, report), report):
            _check_counts(checked, report)
            _check_presence(checked, report)
            _check_repetition(checked, digests, report)
    except NotAListError as error:
        report.error('structure', str(error))
        return
    for (video_id, category_id), number in counts.items():
        if number > _MAX_TRACKS:
            text = f'{number} tracks: only the {_MAX_TRACKS} with the best scores count'
            where = {'video_id': video_id, 'category_id': category_id}
            report.warn('more tracks than count', text, **where)
    with_tracks = {video for video, _ in counts}
    for identity in contents.by_id:
        if identity not in with_tracks:
            report.warn('video without tracks', 'it has no track', video_id=identity)


def _tracks(
    entries: Iterator[Any], contents: Contents, counts: Counter, report: Report
) -> Iterator[Track]:
    """Checks the entries but for their masks, and gives those that have a list of masks."""
    for number, entry in enumerate(entries):
        place: dict[str, Any] = {'entry': number}
        report.look_at(tracks=1)
        if not isinstance(entry, dict):
            report.error('structure', f'must be an object, found {shown(entry)}', **place)
            continue
        video_id = reference(entry, 'video', contents.by_id, place, report)
        category_id = reference(entry, 'category', contents.categories, place, report)
        if None not in (video_id, category_id):
            counts[video_id, category_id] += 1
        _check_score(entry, place, report)
        track = sound_track(entry, contents.by_id.get(video_id, NO_VIDEO), place, report)
        if track is not None:
            report.look_at(frames=len(entry['segmentations']))
            yield track


def _check_score(entry: dict[str, Any], place: dict[str, Any], report: Report) -> None:
    score = entry.get('score')
    if 'score' not in entry:
        report.error('structure', "key 'score' is missing, expected a number", **place)
    elif type(score) not in (int, float):
        report.error('structure', f"'score' must be a number, found {shown(score)}", **place)
    elif not 0 <= score <= 1:  # true of what is not a number, too
        report.error('score', f"'score' must be from 0 to 1, found {shown(score)}", **place)


def _check_counts(checked: CheckedTrack, report: Report) -> None:
    for frame in checked.frames:
        mask = checked.track.entry['segmentations'][frame]
        if isinstance(mask, dict) and isinstance(mask.get('counts'), list):
            text = "'counts' is a list: expected a string, the compressed form"
            report.error('uncompressed mask', text, **checked.track.frame_place(frame))


def _check_presence(checked: CheckedTrack, report: Report) -> None:
    if not checked.areas.any() and not checked.faulty:
        report.warn('track without masks', 'no frame has a mask with pixels', **checked.track.place)


def _check_repetition(checked: CheckedTrack, digests: dict[bytes, int], report: Report) -> None:
    entry = checked.track.entry
    parts = [repr(entry.get(key)) for key in RESULT_KEYS if key != 'segmentations']
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
        report.warn('repeated track', text, **checked.track.place)
