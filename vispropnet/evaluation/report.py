"""Scores a result file in all the ways there are, and lays the metrics out for a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import ALL_METRICS, plain_metrics
from vispropnet.evaluation.breakdown import METRICS, break_down
from vispropnet.evaluation.confidence import (
    LEVEL,
    confidence_intervals,
    paired_differences,
    resample_videos,
)
from vispropnet.evaluation.error_kinds import LABELS, classify_errors, error_gains, worst_videos
from vispropnet.evaluation.ground_truth import GroundTruth
from vispropnet.evaluation.matching import Matches, area_bins, match_tracks
from vispropnet.evaluation.overlaps import measure_tracks
from vispropnet.evaluation.result_file import iter_sound_results
from vispropnet.text import shown

PARTS = {
    'categories': 'category',
    'track_length': 'track length (frames)',
    'objects_per_video': 'objects in a video',
    'hidden': 'frames hidden*',
}


def score_file(
    truth: GroundTruth, path: str | os.PathLike, frame_by_frame: bool = False
) -> Matches:
    """Matches the tracks of a result file without holding it whole.

    Args:
        truth: The objects to score against.
        path: The result file, or the archive made of it.
        frame_by_frame: As in :func:`~vispropnet.evaluation.overlaps.measure_tracks`; needed to tell
            kinds of errors and for the measures of other trackers.

    Returns:
        The matches of :func:`~vispropnet.evaluation.matching.area_bins`.

    Raises:
        UserError: naming file, video, track and frame, if something does not fit.
    """
    try:
        tracks = measure_tracks(truth, _sound_entries(path), frame_by_frame)
    except UserError as error:
        if str(error).startswith('result file'):
            raise
        raise UserError(f'result file {path}: {error}') from None
    return match_tracks(tracks, area_bins(tracks))


def full_report(
    ours: Matches,
    other: Matches | None = None,
    resamples: int = 0,
    seed: int = 0,
    errors: bool = False,
) -> dict[str, Any]:
    """Gathers all there is to say of a result.

    Args:
        ours: From :func:`score_file`.
        other: Another result on the same ground truth, to compare with.
        resamples: How often to resample the videos for intervals; 0 for none.
        seed: Of the resampling.
        errors: Whether to tell kinds of errors; needs tracks measured frame by frame.

    Returns:
        The twelve metrics under their names; ``detail``; with resamples ``ci`` (``[low, high]`` or
        None by metric) and ``bootstrap``; with another result ``baseline`` (its metrics and the
        differences); with errors ``errors`` and ``worst_videos``. Fit for JSON.
    """
    truth = ours.tracks.truth
    report: dict[str, Any] = plain_metrics(ours)
    report.update(
        videos=len(truth.videos),
        objects=int(ours.counted[0].sum()),
        tracks=len(ours.tracks.score),
        videos_with_tracks=len(np.unique(ours.tracks.video)),
        annotations_left_out=truth.left_out,
        detail=break_down(ours),
    )
    if resamples:
        weights = resample_videos(len(truth.videos), resamples, seed)
        intervals = confidence_intervals(ours, weights)
        report['ci'] = {name: ends and list(ends) for name, ends in intervals.items()}
        report['bootstrap'] = dict(resamples=resamples, seed=seed, level=LEVEL)
    if other is not None:
        report['baseline'] = dict(plain_metrics(other), detail=break_down(other))
        if resamples:
            report['baseline']['difference'] = paired_differences(ours, other, weights)
    if errors:
        kinds = classify_errors(ours)
        report['errors'] = error_gains(ours, kinds)
        report['worst_videos'] = worst_videos(ours, kinds)
        if other is not None:
            report['baseline']['errors'] = error_gains(other, classify_errors(other))
    return report


def metric_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Lays out the twelve metrics of a full report, with intervals and differences, if any."""
    intervals, baseline = report.get('ci'), report.get('baseline')
    difference = (baseline or {}).get('difference')
    header = ['metric', 'value']
    header += ['95 % interval'] if intervals else []
    header += ['baseline', 'difference'] if baseline else []
    header += ['95 % interval', 'above 0'] if difference else []
    rows = [header]
    for name in ALL_METRICS:
        row = [name, _number(report[name])]
        if intervals:
            row.append(_interval(intervals[name]))
        if baseline:
            absent = report[name] < 0
            change = '-' if absent else f'{report[name] - baseline[name]:+.4f}'
            row += [_number(baseline[name]), change]
        if difference:
            one = difference[name]
            above = '-' if one is None else f'{100 * one["above_zero"]:.1f} %'
            if one is not None and one['ci'] == [0, 0]:
                above = 'equal'
            row += [_interval(one and one['ci'], sign='+'), above]
        rows.append(row)
    yield from aligned(rows)


def part_lines(parts: Sequence[Mapping[str, Any]], title: str) -> Iterator[str]:
    """Lays out a list of :func:`~vispropnet.evaluation.breakdown.break_down` under a title."""
    counts = [key for key in ('videos', 'objects', 'tracks') if parts and key in parts[0]]
    rows = [[title, *counts, *METRICS]]
    for part in parts:
        metrics = ['-' if part[name] is None else f'{part[name]:.4f}' for name in METRICS]
        rows.append([str(part['name']), *(str(part[key]) for key in counts), *metrics])
    yield from aligned(rows)


def error_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Lays out what each kind of error costs, of a full report with errors."""
    other = (report.get('baseline') or {}).get('errors')
    rows = [['error', 'mAP gained if fixed', 'AP50 gained', 'count at IoU 0.5']]
    if other:
        rows[0].append('baseline: mAP gained')
    for kind, gain in report['errors'].items():
        row = [LABELS[kind], f'{gain["AP"]:+.4f}', f'{gain["AP50"]:+.4f}', str(gain['count'])]
        rows.append(row + ([f'{other[kind]["AP"]:+.4f}'] if other else []))
    yield from aligned(rows)


def oracle_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Lays out the metrics with each oracle, of a full report with ``oracles``."""
    other = report.get('baseline') or {}
    rows = [['taken from the truth', 'mAP', 'gained', 'AP50', 'AR10']]
    if 'oracles' in other:
        rows[0].append('baseline: gained')
    for oracle, metrics in report['oracles'].items():
        gained = metrics['AP'] - report['AP']
        row = [oracle, f'{metrics["AP"]:.4f}', f'{gained:+.4f}']
        row += [f'{metrics[name]:.4f}' for name in ('AP50', 'AR10')]
        if 'oracles' in other:
            row.append(f'{other["oracles"][oracle]["AP"] - other["AP"]:+.4f}')
        rows.append(row)
    yield from aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligns cells in columns, the first to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield '  '.join(cells).rstrip()


def _sound_entries(path: str | os.PathLike) -> Iterator[dict[str, Any]]:
    for index, entry in enumerate(iter_sound_results(path, progress=True)):
        if not 0 <= entry['score'] <= 1:
            raise UserError(
                f'video {entry["video_id"]}, result entry {index}: score must be within [0, 1], '
                f'got {shown(entry["score"])}. Scale the scores: only their order counts.'
            )
        yield entry


def _number(value: float) -> str:
    return '-' if value < 0 else f'{value:.4f}'


def _interval(ends: Sequence[float] | None, sign: str = '') -> str:
    return '-' if ends is None else f'{ends[0]:{sign}.4f} .. {ends[1]:{sign}.4f}'
