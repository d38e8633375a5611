"""Finds all that is wrong with a result file, not only the first fault."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from vispropnet.datasets.check_masks import LookedAt, Track, look_at_masks
from vispropnet.datasets.check_videos import Contents, check_length, sound_integer
from vispropnet.datasets.findings import Report, shown
from vispropnet.evaluation.result_file import RESULT_KEYS, iter_results
from vispropnet.fileio import NotAListError

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
        for seen in look_at_masks(_tracks(bar, contents, counts, report), report):
            _check_counts(seen, report)
            _check_presence(seen, report)
            _check_repetition(seen, digests, report)
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
        video_id = sound_integer(entry, 'video_id', place, report)
        video = contents.by_id.get(video_id)
        if video_id is not None:
            place['video_id'] = video_id
            if video is None:
                text = f'video_id {video_id} is not in the annotation file'
                report.error('unknown video', text, **place)
        category_id = sound_integer(entry, 'category_id', place, report)
        if category_id is not None and category_id not in contents.categories:
            text = f'category_id {category_id} is not in the annotation file'
            report.error('unknown category', text, **place)
        if None not in (video_id, category_id):
            counts[video_id, category_id] += 1
        _check_score(entry, place, report)
        masks = entry.get('segmentations')
        names = None if video is None else video.names
        if 'segmentations' not in entry:
            text = "key 'segmentations' is missing, expected a list with one RLE or null per frame"
            report.error('structure', text, **place)
            continue
        check_length(masks, 'segmentations', None if names is None else len(names), place, report)
        if isinstance(masks, list):
            report.look_at(frames=len(masks))
            yield Track(entry, {} if video is None else video.known, names, place)


def _check_score(entry: dict[str, Any], place: dict[str, Any], report: Report) -> None:
    score = entry.get('score')
    if 'score' not in entry:
        report.error('structure', "key 'score' is missing, expected a number", **place)
    elif type(score) not in (int, float):
        report.error('structure', f"'score' must be a number, found {shown(score)}", **place)
    elif not 0 <= score <= 1:  # true of what is not a number, too
        report.error('score', f"'score' must be from 0 to 1, found {shown(score)}", **place)


def _check_counts(seen: LookedAt, report: Report) -> None:
    for frame in seen.frames:
        mask = seen.track.entry['segmentations'][frame]
        if isinstance(mask, dict) and isinstance(mask.get('counts'), list):
            text = "'counts' is a list: expected a string, the compressed form"
            report.error('uncompressed mask', text, **seen.track.frame_place(frame))


def _check_presence(seen: LookedAt, report: Report) -> None:
    if not seen.areas.any() and not seen.faulty:
        report.warn('track without masks', 'no frame has a mask with pixels', **seen.track.place)


def _check_repetition(seen: LookedAt, digests: dict[bytes, int], report: Report) -> None:
    entry = seen.track.entry
    parts = [repr(entry.get(key)) for key in RESULT_KEYS if key != 'segmentations']
    rles = dict(zip(seen.frames, seen.rles, strict=True))
    for frame, mask in enumerate(entry['segmentations']):
        # A damaged mask stands for itself.
        rle = rles.get(frame)
        parts.append(rle['counts'] if rle else '' if mask is None else repr(mask))
    text = '\n'.join(parts).encode('utf-8', 'surrogatepass')
    digest = hashlib.blake2b(text, digest_size=16).digest()
    number = seen.track.place['entry']
    first = digests.setdefault(digest, number)
    if first != number:
        text = f'video, category, score and masks are those of entry {first}'
        report.warn('repeated track', text, **seen.track.place)
