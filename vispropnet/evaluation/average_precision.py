"""The metrics of YouTube-VIS, as its reference evaluator defines them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vispropnet.evaluation.ground_truth import GroundTruth, ground_truth, read_ground_truth
from vispropnet.evaluation.matching import TRACK_LIMIT, Matches, area_bins, match_tracks
from vispropnet.evaluation.overlaps import IOU_THRESHOLDS, measure_tracks
from vispropnet.evaluation.precision import average_precisions, recalls

# What papers report, in training and test; all that the reference evaluator prints.
MAIN_METRICS = ('mAP', 'AP50', 'AP75', 'AR1', 'AR10')
ALL_METRICS = (
    *('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl'),
    *('AR1', 'AR10', 'AR100', 'ARs', 'ARm', 'ARl'),
)


def evaluate_tracks(
    annotations: str | os.PathLike | dict[str, Any] | GroundTruth,
    results: Iterable[Mapping[str, Any]],
) -> dict[str, float]:
    """Scores tracks against the ground truth.

    IoU of two tracks is the sum over all frames of their intersections by that of their unions.
    Precision is interpolated at 101 recalls, at IoU thresholds 0.50:0.05:0.95, per category, over
    the 100 best tracks per video and category; categories without ground truth are left out. AR1,
    AR10 and AR100 are the recall, averaged over thresholds and categories, of the 1, 10 or 100 best
    tracks per video and category. Crowds count neither as missed nor, when found, as false. APs to
    ARl are those of objects with a mean area of at most 128², 128² to 256², and at least 256²
    pixels. Source: the reference evaluator of YouTube-VIS (youtubevos/cocoapi).

    Args:
        annotations: Annotation file in YouTube-VIS form, its content, or what was made of it. Not
            changed.
        results: Tracks ``{video_id, category_id, score, segmentations}`` with one RLE or None per
            frame, at the size of the video. Not changed. May be empty, and videos may be missing.

    Returns:
        ``AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl``, in [0, 1], not rounded,
        -1 where there is no object of that area; and ``mAP``, which is ``AP``.

    Raises:
        UserError: if there is nothing to score against, or a track does not fit its video.
    """
    if isinstance(annotations, dict):
        annotations = ground_truth(annotations)
    elif not isinstance(annotations, GroundTruth):
        annotations = read_ground_truth(annotations)
    tracks = measure_tracks(annotations, results)
    metrics = plain_metrics(match_tracks(tracks, area_bins(tracks)))
    return {'mAP': metrics['AP'], **metrics}


def plain_metrics(matches: Matches) -> dict[str, float]:
    """Computes the twelve metrics, each video counting once.

    Args:
        matches: Of the four bins of :func:`~vispropnet.evaluation.matching.area_bins`.

    Returns:
        As from :func:`evaluate_tracks`, without ``mAP``.
    """
    ones = np.ones((1, len(matches.tracks.truth.videos)))
    values = weighted_metrics(matches, ones)
    return {name: -1.0 if np.isnan(value[0]) else float(value[0]) for name, value in values.items()}


def weighted_metrics(
    matches: Matches, weights: np.ndarray, names: Sequence[str] = ALL_METRICS
) -> dict[str, np.ndarray]:
    """Computes metrics for many weightings of the videos at once.

    Args:
        matches: Of the four bins of :func:`~vispropnet.evaluation.matching.area_bins`, in order.
        weights: (B, V) float64, how often each video counts.
        names: Which of ``ALL_METRICS``.

    Returns:
        (B,) float64 by name; NaN where there is no object to find.
    """
    values: dict[str, np.ndarray] = {}
    same = _first_equal_bins(matches)
    cache: dict[tuple, np.ndarray] = {}
    for name in names:
        suffix = name[2:]
        bin_index = same['sml'.find(suffix) + 1 if suffix else 0]
        if name.startswith('AR'):
            limit = int(suffix) if suffix.isdigit() else TRACK_LIMIT
            key, compute, arguments = (bin_index, limit), recalls, (bin_index, limit)
        else:
            key, compute, arguments = (bin_index,), average_precisions, (bin_index,)
        if key not in cache:
            cache[key] = compute(matches, weights, *arguments)
        of_name = cache[key]
        if name in ('AP50', 'AP75'):
            of_name = of_name[..., np.isclose(IOU_THRESHOLDS, int(suffix) / 100)]
        values[name] = _mean(of_name)
    return values


def _first_equal_bins(matches: Matches) -> list[int]:
    """Finds the first bin with the same matches as each: often, all objects are of one size."""
    parts = [
        (counted.tobytes(), true.tobytes(), false.tobytes())
        for counted, true, false in zip(matches.counted, matches.true, matches.false, strict=True)
    ]
    return [parts.index(part) for part in parts]


def format_table(metrics: Mapping[str, float], names: Sequence[str] = MAIN_METRICS) -> str:
    """Lays out metrics for a terminal.

    Args:
        metrics: Metrics by name.
        names: Which, and in which order.

    Returns:
        Two aligned lines: the names and, with four digits, the values; a dash where there is none.
    """
    cells = [(name, '-' if metrics[name] < 0 else f'{metrics[name]:.4f}') for name in names]
    widths = [max(len(name), len(value)) for name, value in cells]
    lines = zip(*cells, strict=True)
    return '\n'.join(
        '  '.join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean (B,) over the categories that have objects and over thresholds, of (B, K, T)."""
    present = ~np.isnan(values[..., 0])
    count = present.sum(axis=1) * values.shape[-1]
    with np.errstate(invalid='ignore'):
        return np.nansum(values, axis=(1, 2)) / np.where(count, count, np.nan)
