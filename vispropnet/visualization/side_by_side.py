"""Ground truth and one or two methods side by side, from result files alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import check_folder
from vispropnet.fileio import atomic_path, read_json
from vispropnet.video.writer import VideoWriter
from vispropnet.visualization.frames import frame_path
from vispropnet.visualization.panels import panel_frames
from vispropnet.visualization.shown_tracks import (
    SAME_OBJECT_IOU,
    ShownTrack,
    number_tracks,
    select_tracks,
    sound_entries,
    true_tracks,
)
from vispropnet.visualization.strips import (
    TEXT_SIZE,
    Rows,
    cell_width,
    draw_legend,
    draw_strip,
    evenly,
    framed,
    side_width,
)
from vispropnet.visualization.text import shortened

TRUTH = 'ground truth'
MAX_SIDE_TEXT = 180


@dataclass(frozen=True)
class Selection:
    """Which videos to show, and how much of them.

    Attributes:
        videos: How many, at most: the worst, if ``worst`` is given, else evenly over the file.
        ids: Video ids as text, to name the videos instead.
        worst: List of the worst videos, as ``tools/eval_vis.py --errors`` writes it.
        frames: Frames in a picture, at most.
        score_threshold: Results below this score are left out.
    """

    videos: int = 8
    ids: Sequence[str] | None = None
    worst: str | os.PathLike | None = None
    frames: int = 6
    score_threshold: float = 0.3


def show_results(
    annotations: str | os.PathLike,
    results: Sequence[str | os.PathLike],
    images: str | os.PathLike,
    out_dir: str | os.PathLike,
    names: Sequence[str] | None = None,
    selection: Selection = Selection(),
    mp4: bool = False,
    fps: float = 6,
) -> list[Path]:
    """Draws videos with the tracks of result files, below the ground truth where there is one.

    A track that follows a true one, with an IoU of at least 0.5 over the whole video, has its
    number and colour; so have tracks of two results that follow each other.

    Args:
        annotations: YouTube-VIS annotation file.
        results: Result files, or the archives made of them.
        images: Folder that the ``file_names`` of the videos start from.
        out_dir: Gets ``<video id>.png``: a row of frames for the truth and each result.
        names: What to call the results; otherwise as their files.
        selection: Which videos and frames.
        mp4: Writes ``<video id>.mp4`` as well: all frames, panels side by side.
        fps: Frames a second of the videos.

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
    _check_frames(shown, Path(images), selection.frames, mp4)
    for path in results:
        next(sound_entries(path), None)  # one that is missing is told before another is read
    tracks = [_read_tracks(path, content, annotations, shown, selection) for path in results]
    titles = names or _titles(results)
    categories = {category['id']: category['name'] for category in content['categories']}

    written = []
    with _progress(shown, selection.frames, mp4) as bar:
        for video in shown:
            rows = _rows(content, video, titles, [found[video['id']] for found in tracks])
            path = Path(out_dir) / f'{video["id"]}.png'
            _write_strip(path, video, rows, Path(images), categories, selection)
            bar.update(min(selection.frames, len(video['file_names'])))
            written.append(path)
            if mp4:
                path = path.with_suffix('.mp4')
                _write_video(path, video, rows, Path(images), categories, fps, bar)
                written.append(path)
    return written


def _select_videos(content, annotations, selection):
    by_id = {str(video['id']): video for video in content['videos']}
    if not by_id:
        raise UserError(f'annotation file {annotations} has no videos to show.')
    if selection.ids is not None:
        wanted, source = selection.ids, ''
    elif selection.worst is not None:
        wanted = _worst_ids(selection.worst)[: selection.videos]
        source = f'list of worst videos {selection.worst}: '
    else:
        return [content['videos'][index] for index in evenly(len(by_id), selection.videos)]
    for one in wanted:
        if one not in by_id:
            some = ', '.join(list(by_id)[:5]) + (', ...' if len(by_id) > 5 else '')
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


def _check_frames(videos, images, count, mp4):
    """Finds missing frames before the work, not in its middle."""
    for video in videos:
        total = len(video['file_names'])
        for frame in range(total) if mp4 else evenly(total, count):
            frame_path(video, frame, images)


def _read_tracks(path, content, annotations, shown, selection):
    """Reads a result file and keeps the tracks of the videos shown."""
    known = {video['id'] for video in content['videos']}
    strangers, common = [], False

    def watched():
        nonlocal common
        for entry in sound_entries(path):
            if entry['video_id'] in known:
                common = True
            elif entry['video_id'] not in strangers and len(strangers) < 3:
                strangers.append(entry['video_id'])
            yield entry

    names = {category['id'] for category in content['categories']}
    source = f'result file {path}: '
    tracks = select_tracks(watched(), shown, selection.score_threshold, names, source)
    if strangers and not common:
        some = ', '.join(map(str, strangers))
        raise UserError(
            f'result file {path} has no video in common with {annotations}: its tracks are of '
            f'videos such as {some}; is it of another data set?'
        )
    return tracks


def _titles(results: Sequence[str | os.PathLike]) -> list[str]:
    """Names result files as shortly as tells them apart."""
    paths = [Path(path) for path in results]
    for parts in (1, 2):
        titles = ['/'.join(path.with_suffix('').parts[-parts:]) for path in paths]
        if len(set(titles)) == len(titles):
            return titles
    return [str(path) for path in paths]


def _rows(
    content: Mapping[str, Any],
    video: Mapping[str, Any],
    titles: Sequence[str],
    tracks: Sequence[list[ShownTrack]],
) -> Rows:
    results = [sorted(some, key=lambda track: -track.score) for some in tracks]
    with_truth = content['annotations'] is not None
    truth = true_tracks(content, video) if with_truth else []
    number_tracks(truth, *results)
    rows = list(zip(titles, results, strict=True))
    return [(TRUTH, truth), *rows] if with_truth else rows


def _write_strip(path, video, rows, images, categories, selection):
    rows = [(shortened(name, TEXT_SIZE, MAX_SIDE_TEXT), tracks) for name, tracks in rows]
    columns = min(selection.frames, len(video['file_names']))
    side = side_width([name for name, _ in rows])
    strip = draw_strip(
        video, rows, images, categories, columns, cell_width([video], columns, side), side
    )
    notes = ['one colour and number per object; the frames themselves are muted']
    threshold = selection.score_threshold
    notes.append(f'results: tracks scoring {threshold:.2f} or more, as #track category score')
    if rows[0][0] == TRUTH:
        notes.append(f'a track with IoU ≥ {SAME_OBJECT_IOU} to a true one takes its colour')
    if any(any(track.propagated) for _, tracks in rows for track in tracks):
        notes.append('white dashes: mask carried over from another frame')
    sheet = framed([draw_legend('Side by side', strip.shape[1], notes), strip])
    with atomic_path(path) as temporary:
        temporary.write_bytes(cv2.imencode('.png', sheet)[1].tobytes())


def _write_video(path, video, rows, images, categories, fps, bar):
    # The writer by itself keeps what it has when it is interrupted.
    with atomic_path(path) as temporary, VideoWriter(temporary, fps) as writer:
        for picture in panel_frames(video, rows, images, categories):
            writer.write(picture)
            bar.update()


@contextmanager
def _progress(videos, frames, mp4):
    """A bar over all frames to be drawn."""
    counts = [len(video['file_names']) for video in videos]
    total = sum(min(frames, count) for count in counts) + (sum(counts) if mp4 else 0)
    with tqdm(total=total, desc='drawing', unit='frame') as bar:
        yield bar
