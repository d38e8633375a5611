"""Files of a video found and put in order, and files of masks matched to frames."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from vispropnet.converting.interface import Frames, SourceVideo
from vispropnet.datasets.check_report import Report
from vispropnet.errors import UserError
from vispropnet.video.folder import IMAGE_SUFFIXES, natural_key

VIDEO_SUFFIXES = frozenset(('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm'))
# Names that folders of frames have.
FRAME_FOLDERS = ('frames', 'images', 'JPEGImages', 'img1', 'imgs', 'img', 'rgb')
GAP = 'gap in numbering'
MASK_FOLDERS = ('masks', 'Annotations', 'annotations', 'labels', 'instances')


def entries(folder: Path) -> list[Path]:
    """Lists what a folder holds, but for hidden files, in natural order."""
    try:
        found = [one for one in folder.iterdir() if not one.name.startswith('.')]
    except OSError as error:
        raise UserError(f'folder {folder} cannot be read: {error.strerror}.') from None
    return sorted(found, key=lambda one: natural_key(one.name))


def folders(folder: Path) -> list[Path]:
    """Lists the folders in a folder, in natural order."""
    return [one for one in entries(folder) if one.is_dir()]


def images_in(folder: Path) -> list[Path]:
    """Lists the images in a folder, in natural order."""
    return [one for one in entries(folder) if one.suffix.lower() in IMAGE_SUFFIXES]


def first_folder(folder: Path, names: Iterable[str]) -> Path | None:
    """Finds the first of some folders that is there."""
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def frames_named(folder: Path, name: str) -> Path | None:
    """Finds the folder of images or the video file that holds the frames of a video by its name."""
    if not folder.is_dir():
        return None
    if (folder / name).is_dir() and images_in(folder / name):
        return folder / name
    videos = (one for one in entries(folder) if one.suffix.lower() in VIDEO_SUFFIXES)
    return next((one for one in videos if one.stem == name), None)


def source_video(name: str, path: Path, report: Report, more: object = None) -> SourceVideo | None:
    """Takes a folder of images or a video file as a video; None, and reported, without images."""
    if not path.is_dir():
        return SourceVideo(name, file=path, more=more)
    video = SourceVideo(name, images_in(path), more=more)
    if not video.images:
        report.error('no frames', f'there are no images in {path}', video_id=name)
        return None
    check_numbering(video, report)
    return video


def number_of(stem: str) -> int | None:
    """Reads the last number in a file's name."""
    digits = re.findall('[0-9]+', stem)
    return int(digits[-1]) if digits and len(digits[-1]) < 19 else None


def frame_numbers(files: Sequence[str | Path]) -> list[int]:
    """Gives the last numbers in the names of frames; their positions, unless all differ."""
    numbers = [number_of(Path(file).stem) for file in files]
    if None in numbers or len(set(numbers)) < len(numbers):
        return list(range(len(files)))
    return numbers


def check_numbering(video: SourceVideo, report: Report) -> None:
    """Reports two files for one frame, and gaps in the numbers of the files."""
    seen: dict[str | int, Path] = {}
    numbers = [number_of(path.stem) for path in video.images]
    numbered = None not in numbers and len({_prefix(path.stem) for path in video.images}) == 1
    for frame, (path, number) in enumerate(zip(video.images, numbers, strict=True)):
        first = seen.setdefault(number if numbered else path.stem, path)
        if first is not path:
            text = f'two files for one frame: this and {first.name}'
            report.error('two files for one frame', text, **video.place(frame))
    for frame in gaps(numbers) if numbered else ():
        report.warn(GAP, gap_text(numbers[frame - 1]), **video.place(frame))


def gaps(numbers: Sequence[int]) -> list[int]:
    """Finds the places before which ascending numbers make a larger step than they mostly do."""
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    usual = max(sorted(set(steps) - {0}), key=steps.count, default=1)
    return [place for place, step in enumerate(steps, 1) if step > usual]


def gap_text(before: int) -> str:
    """Words a gap behind the frame of a number."""
    return f'it follows number {before}: this frame is taken for the next one'


def _prefix(stem: str) -> str:
    return re.sub('[0-9]+$', '', stem)


def match_masks(
    masks: Sequence[Path], video: SourceVideo, frames: Frames, report: Report
) -> dict[int, Path]:
    """Finds the frame of each file of masks: by name, or else by the last number in the names.

    Frames of a video file have the numbers from 0. Where no numbers agree, and there are as many
    masks as frames, one of them counted from 0 and the other from 1, they are shifted.

    Args:
        masks: Files, in natural order.
        video: The video.
        frames: Its frames.
        report: Takes masks without a frame, and two for one.

    Returns:
        Files by position in the source, of all frames of the source.
    """
    stems = {path.stem: frame for frame, path in enumerate(video.images)}
    keys: Sequence[int | None]
    if stems and all(path.stem in stems for path in masks):
        keys = [stems[path.stem] for path in masks]
    else:
        keys = _by_number(masks, video, frames, report)
    found: dict[int, list[Path]] = defaultdict(list)
    for path, key in zip(masks, keys, strict=True):
        if key is None:
            text = f'there is no frame for the mask {path.name}'
            report.error('mask without frame', text, video_id=video.name, file_name=str(path))
        else:
            found[key].append(path)
    for frame, paths in found.items():
        if len(paths) > 1:
            text = f'two masks for one frame: {paths[0].name} and {paths[1].name}'
            report.error('two files for one frame', text, **video.place(frame))
    return {frame: paths[0] for frame, paths in sorted(found.items())}


def _by_number(
    masks: Sequence[Path], video: SourceVideo, frames: Frames, report: Report
) -> list[int | None]:
    numbers = [number_of(path.stem) for path in video.images] or list(range(frames.total))
    place = {number: frame for frame, number in enumerate(numbers)}
    found = [number_of(path.stem) for path in masks]
    if all(one in place for one in found) or None in found or None in numbers:
        return [place.get(one) for one in found]
    shift = min(found) - min(numbers)
    if len(masks) == frames.total and abs(shift) == 1:
        text = f'masks are numbered from {min(found)} and frames from {min(numbers)}: shifted by 1'
        report.warn('numbering', text, video_id=video.name, file_name=str(masks[0].parent))
        return [place.get(one - shift) for one in found]
    return [place.get(one) for one in found]


def check_missing(
    files: dict[int, Path], video: SourceVideo, frames: Frames, missing: str, report: Report
) -> list[int] | None:
    """Deals with frames without a file of masks, as the option says.

    Args:
        files: Files by position.
        video: The video.
        frames: Its frames that are converted.
        missing: ``'error'``, ``'empty'`` or ``'unannotated'``.
        report: Takes what is missing.

    Returns:
        Positions of the annotated frames; None for all.
    """
    if missing == 'unannotated':
        return [one for one in frames.positions if one in files]
    for position in frames.positions if missing == 'error' else ():
        if position not in files:
            text = (
                'there is no file of masks for this frame: --missing empty takes it for a frame '
                'without objects, --missing unannotated for one that was not annotated'
            )
            report.error('missing mask', text, **video.place(position))
    return None
