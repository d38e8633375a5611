"""Scores of each trial on each video, and the videos where the trials differ most."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.optimize import linear_sum_assignment

from vispropnet.errors import UserError
from vispropnet.visualization.shown_tracks import (
    ShownTrack,
    select_tracks,
    sound_entries,
    track_ious,
    true_tracks,
)

SCORE_THRESHOLD = 0.3


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
    """Reads the tracks of a result file that score ``SCORE_THRESHOLD`` or more.

    Args:
        path: The result file.
        content: Annotation file.
        videos: Entries of its ``videos``; tracks of others are left out.

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
    """Scores each video of each trial. Only the masks of one trial are held at a time.

    Args:
        content: Annotation file.
        results: Result file of each trial.

    Returns:
        By trial the score of each video, in the order of the annotation file.
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
