"""Ground truth and one or two methods side by side, from result files alone."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import check_folder
from vispropnet.fileio import atomic_path, read_json
from vispropnet.positions import evenly
from vispropnet.text import first_of
from vispropnet.text import shown as shown_value
from vispropnet.video.writer import VideoWriter
from vispropnet.visualization.frames import frame_path
from vispropnet.visualization.sheets import numbered_rows, panel_frames, write_sheet
from vispropnet.visualization.shown_tracks import select_tracks, sound_entries
from vispropnet.visualization.text import drawable_names, short_names

_FPS = 6


@dataclass(frozen=True)
class Selection:
    """Videos to show, and how much of them."""

    videos: int = 8  # at most: the worst, if there is a list of them, else evenly over the file
    ids: Sequence[str] | None = None  # as text, to name the videos instead
    worst: str | os.PathLike | None = None  # list that tools/eval_vis.py --errors writes
    frames: int = 6  # in a picture, at most
    score_threshold: float = 0.3  # results below it are left out


def show_results(
    annotations: str | os.PathLike,
    results: Sequence[str | os.PathLike],
    images: str | os.PathLike,
    out_dir: str | os.PathLike,
    names: Sequence[str] | None = None,
    selection: Selection = Selection(),
    mp4: bool = False,
    fps: float | None = None,
) -> list[Path]:
    """Draws videos with the tracks of result files, below the ground truth where there is one.

    An object has one number and colour; see
    :func:`~vispropnet.visualization.shown_tracks.number_tracks`.

    Args:
        annotations: Annotation file.
        results: Result files, or the archives made of them; without any the truth alone is drawn.
        images: Folder that the ``file_names`` of the videos start from.
        out_dir: Gets ``<video id>.png``: a row of frames for the truth and each result.
        names: What to call the results; otherwise as their files.
        selection: Which videos and frames.
        mp4: Writes ``<video id>.mp4`` as well: all frames, panels side by side.
        fps: Frames a second of the videos; by default frames are shown at the ``timestamps`` of
            the annotations, of which a video without them has 6 a second.

    Returns:
        The files written.

    Raises:
        UserError: if a file, frame, video or name is missing or does not fit.
    """
    if names is not None and len(names) != len(results):
        raise UserError(
            f'{len(names)} names are given for {len(results)} result files: {" ".join(names)}.'
        )
    if not Path(images).is_dir():
        raise UserError(f'folder of images not found: {images}.')
    content = read_annotation_file(annotations)
    shown = _select_videos(content, annotations, selection)
    _check_output(out_dir, images, shown, mp4)
    times = [_times(video, annotations) if mp4 and fps is None else None for video in shown]
    # What is missing is reported before the work, not in its middle.
    for video in shown:
        total = len(video['file_names'])
        for frame in range(total) if mp4 else evenly(total, selection.frames):
            frame_path(video, frame, Path(images))
    for path in results:
        next(sound_entries(path), None)
    tracks = [_read_tracks(path, content, annotations, shown, selection) for path in results]
    paths = [Path(path).with_suffix('') for path in results]
    titles = names or (short_names(paths) if paths else [])
    categories = drawable_names({one['id']: one['name'] for one in content['categories']})

    limits = selection.frames, selection.score_threshold
    heading = 'Side by side' if results else 'Ground truth'
    written = []
    for number, video in enumerate(tqdm(shown, desc='drawing', unit='video')):
        found = [some[video['id']] for some in tracks]
        rows = numbered_rows(content, video, list(zip(titles, found, strict=True)))
        path = Path(out_dir) / f'{video["id"]}.png'
        write_sheet(path, heading, [(video, rows)], Path(images), categories, *limits)
        written.append(path)
        if mp4:
            written.append(path.with_suffix('.mp4'))
            # The writer by itself keeps what it has when it is interrupted.
            rate, moments = fps or _FPS, times[number] or itertools.repeat(None)
            with atomic_path(written[-1]) as temporary, VideoWriter(temporary, rate) as writer:
                pictures = panel_frames(video, rows, Path(images), categories)
                for picture, moment in zip(pictures, moments, strict=False):
                    writer.write(picture, moment)
    return written


def _times(video, annotations):
    """Seconds of the frames of a video, by its annotations; None where they do not tell."""
    times, count = video.get('timestamps'), len(video['file_names'])
    if times is None:
        return None
    numbers = isinstance(times, list) and all(type(one) in (int, float) for one in times)
    if not numbers or len(times) != count or not all(a < b for a, b in itertools.pairwise(times)):
        raise UserError(
            f'{annotations}: timestamps of video {video["id"]} must be {count} rising numbers, in '
            f'seconds, got {shown_value(times)}. Or give --fps.'
        )
    return times


def _select_videos(content, annotations, selection):
    by_id = {str(video['id']): video for video in content['videos']}
    if selection.ids is not None:
        wanted, source = selection.ids, ''
    elif selection.worst is not None:
        wanted = _worst_ids(selection.worst)[: selection.videos]
        source = f'list of worst videos {selection.worst}: '
    else:
        return [content['videos'][index] for index in evenly(len(by_id), selection.videos)]
    for one in wanted:
        if one not in by_id:
            some = first_of(by_id, most=5)
            raise UserError(f'{source}video {one} is not in {annotations}, which has {some}.')
    return [by_id[one] for one in dict.fromkeys(wanted)]


def _worst_ids(path):
    entries = read_json(path, 'list of worst videos')
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and 'video_id' in entry for entry in entries
    ):
        raise UserError(
            f'{path} must be a list of objects with video_id, as tools/eval_vis.py --errors '
            'writes it (<results>_worst_videos.json).'
        )
    if not entries:
        raise UserError(f'list of worst videos {path} is empty.')
    return [str(entry['video_id']) for entry in entries]


def _check_output(out_dir, images, videos, mp4):
    if os.path.realpath(out_dir) == os.path.realpath(images):
        raise UserError(f'cannot write into {out_dir}: it holds the frames; give another folder.')
    for video in videos:
        for suffix in ('.png', '.mp4') if mp4 else ('.png',):
            path = Path(out_dir) / f'{video["id"]}{suffix}'
            check_folder(path)
            if path.is_dir():
                raise UserError(f'cannot write {path}: it is a folder.')


def _read_tracks(path, content, annotations, shown, selection):
    """Reads a result file and keeps the tracks of the videos shown."""
    seen = {}

    def watched():
        for entry in sound_entries(path):
            seen[entry['video_id']] = None
            yield entry

    names = {category['id'] for category in content['categories']}
    source = f'result file {path}: '
    tracks = select_tracks(watched(), shown, selection.score_threshold, names, source)
    if seen and seen.keys().isdisjoint(video['id'] for video in content['videos']):
        raise UserError(
            f'result file {path} has no video in common with {annotations}: its tracks are of '
            f'videos {first_of(seen, most=3)}; is it of another data set?'
        )
    return tracks
