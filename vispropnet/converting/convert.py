"""Conversion of a data set into the YouTube-VIS form, whole or not at all."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from vispropnet.converting import FORMATS
from vispropnet.converting.frame_store import FrameStore
from vispropnet.converting.interface import RLE, Annotations, Frames, Options, Reader, Track
from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_frames import check_frames
from vispropnet.datasets.check_report import ERROR, Report
from vispropnet.datasets.run_lengths import measure_counts
from vispropnet.errors import UserError
from vispropnet.fileio import atomic_folder, write_json
from vispropnet.text import counted
from vispropnet.video.selection import whole_number

# What an output holds: its annotations and its frames.
ANNOTATIONS, FRAMES = 'instances.json', 'frames'
# And what tools/split_ytvis.py makes of it there.
_DERIVED = ('train.json', 'valid.json')


@dataclass
class Conversion:
    """What became of a conversion."""

    out: Path  # the folder
    source: Report  # what was found in the source; with an error nothing was written
    check: Report | None = None  # what the check of the output found; None if it did not come to it
    notes: list[str] = field(default_factory=list)  # what was done where the form leaves it open
    videos: int = 0
    frames: int = 0
    objects: dict[str, int] = field(default_factory=dict)  # by category

    @property
    def is_written(self) -> bool:
        """Whether there is an output."""
        return self.check is not None and self.check.count(ERROR) == 0

    def reports(self) -> list[Report]:
        """Gives the reports there are."""
        return [one for one in (self.source, self.check) if one is not None]


class _NotWritten(Exception):
    """Has the output dropped."""


def convert(
    form: str,
    source: str | os.PathLike,
    out: str | os.PathLike,
    options: Options | None = None,
    frames: str = 'link',
    every: int | str | None = None,
    max_size: int | str | None = None,
    force: bool = False,
    progress: bool = True,
) -> Conversion:
    """Converts a data set.

    Args:
        form: A key of ``FORMATS``.
        source: File or folder, as the form has it.
        out: Folder to make. It gets ``instances.json`` and ``frames/<video>/<frame>``.
        options: How to read.
        frames: ``'link'`` or ``'copy'``: what becomes of images that stay as they are.
        every: Every so many frames come, or of video files those of every so many seconds, as
            ``'0.5s'``. None for what the form has.
        max_size: Longest side in pixels; larger frames and masks are scaled down to it.
        force: Whether to replace an older output.
        progress: Whether to show progress (on a terminal).

    Returns:
        What was found and, unless that has an error, written.

    Raises:
        UserError: if the source or an option cannot be used at all, or ``out`` is taken.
    """
    source, out = Path(source), Path(out)
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise UserError(f'{out} is inside of {source}: choose a folder outside of the source.')
    if max_size is not None:
        max_size = whole_number('max_size', max_size, least=1, unit='pixels')
    report = Report(str(source))
    reader = reader_class(form)(source, options or Options(), report)
    result = Conversion(out, report)
    try:
        with atomic_folder(
            out, 'converted data set', (ANNOTATIONS, FRAMES, *_DERIVED), force
        ) as made:
            (made / FRAMES).mkdir()
            store = FrameStore(made / FRAMES, frames, max_size, report)
            content = _read_all(reader, store, every, progress)
            content['info'] = {'description': f'converted from {source.name}', 'form': form}
            result.notes = reader.notes()
            if report.count(ERROR):
                raise _NotWritten
            _count(content, result)
            write_json(made / ANNOTATIONS, content)
            result.check = _check(made, out, progress)
            if result.check.count(ERROR):
                raise _NotWritten
    except _NotWritten:
        pass
    return result


def reader_class(form: str) -> type[Reader]:
    """Finds the reader of a form, a key of ``FORMATS``."""
    if form not in FORMATS:
        raise UserError(f'unknown format {form!r}; expected one of {", ".join(FORMATS)}.')
    module = f'vispropnet.converting.readers.{form.replace("-", "_")}'
    return importlib.import_module(module).Reader


def _read_all(
    reader: Reader, store: FrameStore, every: int | str | None, progress: bool
) -> dict[str, Any]:
    videos, found = [], []
    report, names = reader.report, set()
    sources = list(reader.videos())
    if not sources and not report.count(ERROR):
        report.error('no videos', f'there are no videos in {reader.source}')
    for video in tqdm(sources, 'videos', unit='video', disable=None if progress else True):
        if video.name in names:
            report.error('duplicate video', 'two videos have this name', video_id=video.name)
            continue
        names.add(video.name)
        frames = store.add(video, reader.step if every is None else every)
        if frames is not None:
            annotations = reader.annotations(video, frames)
            videos.append((video.name, frames, annotations.annotated))
            found.append(_of_output(annotations, frames))
            if not report.count(ERROR):  # which may be the reason
                _warn_of_nothing(video.name, annotations, frames, report)
    if videos and not any(found) and not report.count(ERROR):
        report.error('no objects', 'no frame shows an object')
    categories = reader.categories or {
        name: number
        for number, name in enumerate(sorted({one.category for some in found for one in some}), 1)
    }
    return {
        'videos': [_video(at, *video) for at, video in enumerate(videos, 1)],
        'categories': [{'id': number, 'name': name} for name, number in categories.items()],
        'annotations': list(_numbered(found, [frames for _, frames, _ in videos], categories)),
    }


def _warn_of_nothing(name: str, annotations: Annotations, frames: Frames, report: Report) -> None:
    for track in annotations.tracks:
        if not any(position in track.masks for position in frames.positions):
            text = f'object {track.key} ({track.category}) is on none of the frames: left out'
            report.warn('object never visible', text, video_id=name)


def _video(
    number: int, name: str, frames: Frames, annotated: Sequence[int] | None
) -> dict[str, Any]:
    height, width = frames.new_size
    video = {'id': number, 'name': name, 'width': width, 'height': height}
    video.update(length=len(frames.names), file_names=frames.names)
    if annotated is not None and len(annotated) < len(frames.positions):
        kept = set(annotated)
        video['annotated_frames'] = [at for at, one in enumerate(frames.positions) if one in kept]
    if frames.seconds is not None:
        video['timestamps'] = frames.seconds
    return video


def _of_output(annotations: Annotations, frames: Frames) -> list[Track]:
    """Gives tracks with masks by their place in the output, of its size."""
    place = {position: at for at, position in enumerate(frames.positions)}
    tracks = []
    for track in annotations.tracks:
        masks = {place[one]: rle for one, rle in track.masks.items() if one in place}
        if frames.new_size != frames.size:
            masks = {at: _scaled(rle, frames.new_size) for at, rle in masks.items()}
        if masks:
            tracks.append(Track(track.key, track.category, masks, track.is_crowd))
    return tracks


def _scaled(rle: RLE, size: tuple[int, int]) -> RLE:
    mask = cv2.resize(mask_utils.decode(rle), size[::-1], interpolation=cv2.INTER_NEAREST)
    rle = mask_utils.encode(np.asfortranarray(mask))
    return {'size': list(size), 'counts': rle['counts'].decode('ascii')}


def _numbered(
    tracks: Sequence[Sequence[Track]], frames: Sequence[Frames], categories: dict[str, int]
):
    """Yields the annotations, one for each object."""
    number = 0
    for video, (some, of_video) in enumerate(zip(tracks, frames, strict=True), 1):
        length = len(of_video.names)
        for track in some:
            number += 1
            places = sorted(track.masks)
            rles = [track.masks[place] for place in places]
            lists = {
                'segmentations': rles,
                'bboxes': mask_utils.toBbox(rles).tolist(),
                # Not pycocotools' own, which cannot take more than 255 masks.
                'areas': measure_counts([rle['counts'] for rle in rles]).areas.tolist(),
            }
            seen = [place for place, area in zip(places, lists['areas'], strict=True) if area]
            spread = {key: _spread(places, values, seen, length) for key, values in lists.items()}
            kind = {'category_id': categories[track.category], 'iscrowd': int(track.is_crowd)}
            yield {'id': number, 'video_id': video, **kind, **spread}


def _spread(places: list[int], values: list[Any], seen: list[int], length: int) -> list[Any]:
    """Puts values at their places in a list of None; those of masks without pixels stay None."""
    known = dict(zip(places, values, strict=True))
    kept = set(seen)
    return [known[place] if place in kept else None for place in range(length)]


def _check(made: Path, out: Path, progress: bool) -> Report:
    """Checks the output as tools/check_data.py does."""
    report = Report(str(out / ANNOTATIONS))
    file = check_annotations(made / ANNOTATIONS, report, progress=progress)
    if not file.is_other:
        check_frames(file.videos, made / FRAMES, report, progress=progress)
    return report


def _count(content: dict[str, Any], result: Conversion) -> None:
    names = {one['id']: one['name'] for one in content['categories']}
    objects = Counter(names[one['category_id']] for one in content['annotations'])
    result.videos = len(content['videos'])
    result.frames = sum(one['length'] for one in content['videos'])
    result.objects = {name: objects[name] for name in names.values()}


def summary(result: Conversion) -> str:
    """Words how much there is."""
    total = sum(result.objects.values())
    listed = ', '.join(f'{name} {number}' for name, number in result.objects.items())
    parts = counted(result.videos, 'video'), counted(result.frames, 'frame')
    return f'{", ".join(parts)}, {counted(total, "object")} ({listed})'
