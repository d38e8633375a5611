"""HOTA and IDF1 of tracks, computed by TrackEval from overlaps that were measured before.

Average precision holds whole tracks against whole objects. These measures match mask by mask, and
tell how well objects are found from how well tracks keep to their object.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from vispropnet.errors import UserError
from vispropnet.evaluation.overlaps import Tracks

# Without its dependencies: it asks for a numpy that opencv-python refuses, though it runs on ours;
# the packages it imports are here anyway, but for tabulate.
INSTALL_COMMAND = 'pip install --no-deps trackeval==1.3.0 tabulate==0.10.0'
HOTA_NAMES = ('HOTA', 'DetA', 'AssA', 'DetRe', 'DetPr', 'AssRe', 'AssPr')
IDENTITY_NAMES = ('IDF1', 'IDP', 'IDR')
# A mask that meets no object this well, and has more than this share of its area on a crowd, is
# left out: much as KITTI MOTS does with its ignore regions.
_MET_IOU = 0.5
_CROWD_SHARE = 0.5


def tracking_measures(tracks: Tracks, score_threshold: float = 0.3) -> dict[str, float]:
    """Computes HOTA, IDF1 and their parts, each category by itself over all videos.

    Each track that is let in counts fully. HOTA and its parts are means over the IoU thresholds
    0.05:0.05:0.95, IDF1 and its parts are at IoU 0.5. TrackEval's LocA is not given: it is 1 where
    nothing is found. For crowds see :func:`sequence_data`.

    Args:
        tracks: Measured with ``frame_by_frame``.
        score_threshold: Tracks with a lower score are left out.

    Returns:
        ``HOTA, DetA, AssA, DetRe, DetPr, AssRe, AssPr, IDF1, IDP, IDR``, in [0, 1], means over the
        categories of which an object shows (tracks of other categories are left out); and each with
        ``_pooled`` appended, over the masks of these categories taken together, TrackEval's
        "detection-averaged". 0 if no track is let in, -1 if no object shows in any frame.

    Raises:
        UserError: if TrackEval is not installed.
        ValueError: if ``tracks`` was measured without ``frame_by_frame``.
    """
    if tracks.frames is None:
        raise ValueError('tracks must be measured with frame_by_frame=True.')
    metrics = zip(trackeval_metrics(), (HOTA_NAMES, IDENTITY_NAMES), strict=True)
    sequences = scored_sequences(tracks, score_threshold)
    if not sequences:  # which TrackEval cannot combine
        plain = (*HOTA_NAMES, *IDENTITY_NAMES)
        return dict.fromkeys((*plain, *(f'{name}_pooled' for name in plain)), -1.0)
    averaged, pooled = {}, {}
    for metric, names in metrics:
        by_category = {
            category: metric.combine_sequences(
                {video: metric.eval_sequence(data) for video, data in videos.items()}
            )
            for category, videos in sequences.items()
        }
        mean = metric.combine_classes_class_averaged(by_category)
        together = metric.combine_classes_det_averaged(by_category)
        for name in names:
            averaged[name] = float(np.mean(mean[name]))
            pooled[f'{name}_pooled'] = float(np.mean(together[name]))
    return averaged | pooled


def scored_sequences(
    tracks: Tracks, score_threshold: float
) -> dict[int, dict[int, dict[str, Any]]]:
    """Prepares what TrackEval is to see; arguments as of :func:`tracking_measures`.

    Returns:
        By category (its position), only those of which an object shows, and by video (its position)
        with an object or track of the category: the data of :func:`sequence_data`.
    """
    truth = tracks.truth
    chosen: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in np.flatnonzero(~truth.crowd).tolist():
        chosen[int(truth.category[row]), int(truth.video[row])] = []
    for row in np.flatnonzero(tracks.score >= score_threshold).tolist():
        chosen[int(tracks.category[row]), int(tracks.video[row])].append(row)
    sequences: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
    for (category, video), rows in sorted(chosen.items()):
        sequences[category][video] = sequence_data(tracks, category, video, rows)
    return {
        category: videos
        for category, videos in sequences.items()
        if any(data['num_gt_dets'] for data in videos.values())
    }


def sequence_data(tracks: Tracks, category: int, video: int, rows: Sequence[int]) -> dict[str, Any]:
    """Lays out one category in one video the way TrackEval's metrics take it.

    Crowds are no objects to be found. In a frame, a mask is left out if its IoU with each object of
    the category is below 0.5 and more than half of its area lies on a crowd of the category.

    Takes tracks measured ``frame_by_frame``, the positions of the category and of the video, and
    the positions of the tracks to score, of this category and video.

    Returns:
        ``num_timesteps, num_gt_ids, num_tracker_ids, num_gt_dets, num_tracker_dets``; and by frame
        ``gt_ids`` and ``tracker_ids``, int64, and ``similarity_scores``, the float64 IoUs of these
        objects and tracks. Ids count from 0 without a gap, in the order of the objects and of
        ``rows``: who never shows gets none.
    """
    objects = tracks.truth.videos[video].objects
    own = tracks.truth.category[objects] == category
    crowd = tracks.truth.crowd[objects]
    truth_areas = tracks.truth.videos[video].areas[own & ~crowd]  # (G, T)
    if len(rows):
        areas = np.stack([tracks.frames[row][1] for row in rows])  # (D, T)
        common = np.stack([tracks.frames[row][0] for row in rows], axis=1)
    else:  # nothing to stack
        areas = np.zeros((0, truth_areas.shape[1]), np.int64)
        common = np.zeros((len(objects), *areas.shape), np.int64)
    if not len(truth_areas):  # also where the file does not tell how long the video is
        truth_areas = np.zeros((0, areas.shape[1]), np.int64)
    met = common[own & ~crowd]  # (G, D, T)
    ious = met / np.maximum(truth_areas[:, None] + areas - met, 1)
    on_crowd = common[own & crowd].max(axis=0, initial=0) > _CROWD_SHARE * areas
    truth_shown = truth_areas > 0
    shown = (areas > 0) & ~(on_crowd & (ious.max(axis=0, initial=0) < _MET_IOU))
    truth_ids, ids = _numbered(truth_shown), _numbered(shown)
    frames = range(areas.shape[1])
    return {
        'num_timesteps': len(frames),
        'num_gt_ids': int(truth_shown.any(axis=1).sum()),
        'num_tracker_ids': int(shown.any(axis=1).sum()),
        'num_gt_dets': int(truth_shown.sum()),
        'num_tracker_dets': int(shown.sum()),
        'gt_ids': [truth_ids[truth_shown[:, frame]] for frame in frames],
        'tracker_ids': [ids[shown[:, frame]] for frame in frames],
        'similarity_scores': [
            ious[..., frame][np.ix_(truth_shown[:, frame], shown[:, frame])] for frame in frames
        ],
    }


def _numbered(shown: np.ndarray) -> np.ndarray:
    """Numbers (N,) int64 from 0 on for the rows of (N, T) bool with any frame."""
    return np.cumsum(shown.any(axis=1), dtype=np.int64) - 1


def trackeval_metrics() -> tuple[Any, Any]:
    """Makes TrackEval's metrics HOTA and Identity; a UserError says if it is not installed."""
    try:
        # It prints what it misses for benchmarks that are not used here.
        with contextlib.redirect_stdout(io.StringIO()):
            from trackeval.metrics import HOTA, Identity
    except ImportError as error:
        raise UserError(
            f'HOTA and IDF1 are computed by TrackEval, which cannot be imported ({error}). '
            f'Install it with: {INSTALL_COMMAND}'
        ) from error
    return HOTA(), Identity({'PRINT_CONFIG': False})
