"""The gallery of the report: videos where trials differ most, within a limit of size."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from pycocotools import mask as mask_utils
from scipy.optimize import linear_sum_assignment

from vispropnet.errors import UserError
from vispropnet.positions import evenly
from vispropnet.visualization.frames import read_frame
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.shown_tracks import (
    ShownTrack,
    number_tracks,
    select_tracks,
    sound_entries,
    track_ious,
    true_tracks,
)

TRUTH = 'Ground truth'
SCORE_THRESHOLD = 0.3
BUDGET = 12_000_000


class Detail(NamedTuple):
    """Amount of a video that the page holds."""

    frames: int | None  # at most, picked evenly; None for all
    width: int  # of a frame in pixels, at most
    quality: int  # of its JPEG, 1 to 100


# Title, score and tracks of one trial in a video; the true ones have no score.
Panel = tuple[str, float | None, list[ShownTrack]]
# Tried in turn until all videos fit; with the last, videos are left out.
DETAILS = (Detail(None, 480, 80), Detail(40, 480, 80), Detail(24, 400, 75), Detail(16, 320, 70))


class Gallery(NamedTuple):
    """The content of the gallery."""

    videos: list[Markup]  # a JSON object each, which can stand inside a script element
    notes: list[str]  # sentences about what had to be left out


def build_gallery(
    content: Mapping[str, Any],
    results: Mapping[str, str | os.PathLike],
    titles: Mapping[str, str],
    images: Path,
    count: int,
    budget: int = BUDGET,
) -> Gallery:
    """Picks the videos where trials differ most and packs their frames and masks.

    Args:
        content: Annotation file.
        results: Result file of each trial.
        titles: Title of each trial.
        images: Folder that the file names of the videos start from.
        count: Number of videos at most.
        budget: Characters that they may take. To stay within, frames are left out and made
            smaller, then videos are left out.

    Raises:
        UserError: if a file or frame is missing, or does not fit.
    """
    scores = score_videos(content, results)
    chosen = most_different(scores, count) if scores else []
    videos = [content['videos'][index] for index in chosen]
    truth = true_tracks_of(content, videos)
    tracks = {name: trial_tracks(path, content, videos) for name, path in results.items()}
    shown = []
    for index, video in zip(chosen, videos, strict=True):
        rows = [some[video['id']] for some in tracks.values()]
        number_tracks(truth[video['id']], *rows)
        panels: list[Panel] = [(TRUTH, None, truth[video['id']])]
        for name, row in zip(tracks, rows, strict=True):
            panels.append((titles[name], scores[name][index], row))
        shown.append((video, panels))
    categories = {category['id']: category['name'] for category in content['categories']}
    for detail in DETAILS:
        texts: list[Markup] = []
        for video, panels in shown:
            room = budget - sum(map(len, texts))
            text = _video_text(video, panels, images, categories, detail, room)
            if text is None:
                break
            texts.append(text)
        else:
            break
    return Gallery(texts, _notes(detail, len(texts), videos))


def true_tracks_of(
    content: Mapping[str, Any], videos: Sequence[Mapping[str, Any]]
) -> dict[int, list[ShownTrack]]:
    """Reads the true tracks of videos of an annotation file, by video id; crowds are left out.

    Raises:
        UserError: if the file has no annotations, or one does not fit its video.
    """
    if content['annotations'] is None:
        raise UserError("the annotation file has no 'annotations'; the gallery needs ground truth.")
    single = [one for one in content['annotations'] if not one.get('iscrowd', 0)]
    return {video['id']: true_tracks({'annotations': single}, video) for video in videos}


def trial_tracks(
    path: str | os.PathLike, content: Mapping[str, Any], videos: Sequence[Mapping[str, Any]]
) -> dict[int, list[ShownTrack]]:
    """Reads the tracks of videos that score ``SCORE_THRESHOLD`` or more in a result file.

    Returns:
        By video id its tracks, the best score first.

    Raises:
        UserError: naming the file and the entry, if a track does not fit its video.
    """
    names = {category['id']: category['name'] for category in content['categories']}
    source = f'result file {path}: '
    tracks = select_tracks(sound_entries(path), videos, SCORE_THRESHOLD, names, source)
    return {
        video_id: sorted(some, key=lambda track: -track.score) for video_id, some in tracks.items()
    }


def video_score(truth: Sequence[ShownTrack], tracks: Sequence[ShownTrack]) -> float:
    """Scores the tracks of one video, 0 to 1.

    Objects and tracks are paired one to one so that the sum of their IoUs is largest, whatever
    their category. The score is that sum by the number of objects or of tracks, whichever is
    larger, so that missed objects and superfluous tracks lower it; 1 where there is neither.
    """
    if not truth and not tracks:
        return 1.0
    ious = track_ious(truth, tracks)
    rows, columns = linear_sum_assignment(-ious)
    return float(ious[rows, columns].sum()) / max(len(truth), len(tracks))


def score_videos(
    content: Mapping[str, Any], results: Mapping[str, str | os.PathLike]
) -> dict[str, list[float]]:
    """Scores each video, in the order of the annotation file, by trial of its result file.

    Only the masks of one trial are held at a time.
    """
    videos = content['videos']
    truth = true_tracks_of(content, videos)
    scores = {}
    for name, path in results.items():
        tracks = trial_tracks(path, content, videos)
        scores[name] = [video_score(truth[one['id']], tracks[one['id']]) for one in videos]
    return scores


def most_different(scores: Mapping[str, Sequence[float]], count: int) -> list[int]:
    """Finds the videos where the trials differ most.

    Args:
        scores: By trial the score of each of V videos.
        count: Number of videos at most.

    Returns:
        Positions of the videos, those with the largest gap between the best and the worst trial
        first; of equal gaps, those with the lower worst score first.
    """
    ends = [(min(some), max(some)) for some in zip(*scores.values(), strict=True)]
    keys = [(worst - best, worst) for worst, best in ends]
    return sorted(range(len(keys)), key=keys.__getitem__)[:count]


def scaled_counts(rle: Mapping[str, Any], width: int, height: int) -> str:
    """Brings a mask, a compressed RLE, to another width and height in pixels.

    Returns:
        Its compressed counts: each pixel is what the mask has at its middle. A mask that is not
        empty does not become so.
    """
    if rle['size'] == [height, width]:
        counts = rle['counts']
        return counts.decode('ascii') if isinstance(counts, bytes) else counts
    mask = mask_utils.decode(dict(rle))
    old_height, old_width = mask.shape
    rows = (2 * np.arange(height) + 1) * old_height // (2 * height)
    columns = (2 * np.arange(width) + 1) * old_width // (2 * width)
    small = mask[np.ix_(rows, columns)]
    if not small.any():
        # Objects that fall between the places looked at are kept wherever they touch a new pixel.
        y, x = np.nonzero(mask)
        small[y * height // old_height, x * width // old_width] = 1
    return mask_utils.encode(np.asfortranarray(small))['counts'].decode('ascii')


def _video_text(
    video: Mapping[str, Any],
    panels: Sequence[Panel],
    images: Path,
    categories: Mapping[int, str],
    detail: Detail,
    room: int,
) -> Markup | None:
    """Packs one video; None if it takes more than ``room`` characters."""
    total = len(video['file_names'])
    frames = evenly(total, detail.frames or total)
    width = min(video['width'], detail.width)
    height = max(1, round(video['height'] * width / video['width']))
    pictures = []
    for frame in frames:
        pictures.append(_jpeg(read_frame(video, frame, images), width, height, detail.quality))
        if sum(map(len, pictures)) > room:
            return None
    folder = Path(video['file_names'][0]).parent.name
    content = {
        'name': f'Video {video["id"]}' + (f' ({folder})' if folder else ''),
        'width': width,
        'height': height,
        'total': total,
        'numbers': [frame + 1 for frame in frames],
        'frames': pictures,
        'panels': [
            {
                'title': title,
                'score': None if score is None else round(score, 3),
                'tracks': [
                    _track(track, frames, (width, height), categories)
                    for track in sorted(tracks, key=lambda track: track.number)
                ],
            }
            for title, score, tracks in panels
        ],
    }
    text = htmlsafe_json_dumps(content, separators=(',', ':'), allow_nan=False)
    return text if len(text) <= room else None


def _jpeg(picture: np.ndarray, width: int, height: int, quality: int) -> str:
    """Encodes a frame (H, W, 3) as a JPEG in base64."""
    if picture.shape[:2] != (height, width):
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return base64.b64encode(data.tobytes()).decode('ascii')


def _track(
    track: ShownTrack, frames: Sequence[int], size: tuple[int, int], categories: Mapping[int, str]
) -> dict[str, Any]:
    rles = [track.rles[frame] for frame in frames]
    return {
        'number': track.number,
        'color': track_color(track.number)[::-1],  # from BGR
        'label': str(categories[track.label]),
        'score': None if track.score is None else round(float(track.score), 2),
        'masks': [rle and scaled_counts(rle, *size) for rle in rles],
        'carried': [int(bool(track.propagated[frame])) for frame in frames],
    }


def _notes(detail: Detail, kept: int, videos: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    if kept < len(videos):
        notes.append(f'Only {kept} of {len(videos)} videos are shown: the page would be too large.')
    videos = videos[:kept]
    if detail.frames and any(len(one['file_names']) > detail.frames for one in videos):
        notes.append(
            f'Of longer videos, {detail.frames} frames are shown, picked evenly, to keep the page '
            'small.'
        )
    most = DETAILS[0].width
    if detail.width < most and any(one['width'] > detail.width for one in videos):
        notes.append(
            f'Frames are at most {detail.width} pixels wide rather than {most}, to keep the page '
            'small.'
        )
    return notes
