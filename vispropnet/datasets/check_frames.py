"""Frames on disk: missing, unreadable, of another size than their video."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from vispropnet.datasets.annotation_values import name_fault
from vispropnet.datasets.check_report import Report
from vispropnet.datasets.file_entries import Video
from vispropnet.datasets.frame_paths import find_elsewhere, frame_path
from vispropnet.datasets.images import (
    JPEG_START,
    ImageError,
    ImageSizeError,
    decode_image,
    upright_size,
)
from vispropnet.errors import UserError

# Reading and decoding go on in parallel, without the interpreter's lock.
_MAX_THREADS = 16
_FRAMES_AHEAD = 256


class _Frame(NamedTuple):
    video: Video
    number: int
    path: str


def check_frames(
    videos: Sequence[Video],
    folder: str | os.PathLike,
    report: Report,
    deep: bool = False,
    hint: str = '',
    progress: bool = True,
) -> None:
    """Checks that all frames exist, and that they can be read and have their video's size.

    Args:
        videos: The videos of an annotation file.
        folder: Image folder, which the file names start from.
        report: Takes what is found.
        deep: Whether to decode every frame, instead of the header of each video's first frame.
        hint: Advice on getting the frames, for the message when the folder is missing.
        progress: Whether to show progress bars (on a terminal).

    Raises:
        UserError: if there is no such folder.
    """
    if not os.path.isdir(folder):
        raise UserError(f'folder of frames not found: {folder}.{f" {hint}" if hint else ""}')
    disable = None if progress else True
    # Names that cannot be used were reported with the annotation file.
    listed = [
        _Frame(video, number, frame_path(folder, name))
        for video in videos
        for number, name in enumerate(video.names or ())
        if name_fault(name) is None
    ]
    to_open: list[_Frame] = []
    missing: list[_Frame] = []
    for frame in tqdm(listed, f'files in {folder}', disable=disable):
        if not _exists(frame.path):
            missing.append(frame)
        elif deep or not to_open or to_open[-1].video is not frame.video:
            to_open.append(frame)
    _files_in.cache_clear()
    if missing and len(missing) == len(listed):
        advice = find_elsewhere(folder, missing[0].video.names[missing[0].number])
        advice = advice or 'is it the folder that the file names start from?'
        report.error('image folder', f'none of the frames is in {folder}: {advice}')
    if any('\\' in one.video.names[one.number] and '\\' not in one.path for one in listed):
        report.warn('file name', 'backslashes in file names are read as slashes')
    for frame in missing:
        frame.video.error('missing frame', f'there is no file {frame.path}', frame.number)
    look = functools.partial(_look, deep=deep)
    bar = tqdm(total=len(to_open), desc=f'images in {folder}', disable=disable)
    with bar, ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        for begin in range(0, len(to_open), _FRAMES_AHEAD):
            frames = to_open[begin : begin + _FRAMES_AHEAD]
            for frame, seen in zip(frames, pool.map(look, frames), strict=True):
                _report_frame(frame, seen)
                bar.update()
    report.look_at(**{'frames': len(listed), 'images opened': len(to_open)})


def _exists(path: str) -> bool:
    # One look into a folder instead of one at each file: much faster over a network.
    head, tail = os.path.split(path)
    return tail in _files_in(head) or os.path.isfile(path)


@functools.lru_cache(maxsize=64)
def _files_in(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (OSError, ValueError):  # no such folder, or a name that cannot be one
        return frozenset()


def _look(frame: _Frame, deep: bool) -> str | tuple[int, int]:
    """Width and height of an image, from its header unless it is decoded; or what is wrong."""
    known = frame.video.known
    try:
        if not deep:
            return upright_size(frame.path)
        with open(frame.path, 'rb') as stream:
            content = stream.read()
        image = decode_image(content, known.get('width'), known.get('height'))
    except ImageSizeError as error:
        return error.width, error.height
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f'cannot be read: {error.strerror}'
    if not content.startswith(JPEG_START) and (damage := _damage(frame.path)):
        return f'cannot be read as an image: {damage}'
    return image.shape[1], image.shape[0]


def _report_frame(frame: _Frame, seen: str | tuple[int, int]) -> None:
    if isinstance(seen, str):
        frame.video.error('unreadable frame', f'{seen}: {frame.path}', frame.number)
        return
    known = frame.video.known
    wanted = (known.get('width', seen[0]), known.get('height', seen[1]))
    if seen != wanted:
        found = f'the image is {seen[0]}x{seen[1]} pixels (width x height)'
        text = f'{found}, the annotation file says {wanted[0]}x{wanted[1]}'
        frame.video.error('frame of another size than its video', text, frame.number)


def _damage(path: str) -> str | None:
    """Damage that Pillow finds in an image that OpenCV decodes, perhaps only in part."""
    try:
        with Image.open(path) as image:
            image.load()
    except Image.UnidentifiedImageError:
        return None  # a format that only OpenCV knows
    except Exception as error:  # decoders fail in ways of their own
        return str(error)
    return None
