"""Our evaluator beside mmdet's ``YTVISeval``."""

from __future__ import annotations

import functools
import gc
import statistics
import time
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import mmdet
import numpy as np

from benchmarking.measure import Variant, compare, report, say
from benchmarking.settings import EvaluateSettings as Settings
from benchmarking.track_sets import TrackSet, draw_track_set
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import ALL_METRICS, evaluate_tracks
from vispropnet.evaluation.confidence import confidence_intervals, resample_videos
from vispropnet.evaluation.ground_truth import ground_truth
from vispropnet.evaluation.matching import area_bins, match_tracks
from vispropnet.evaluation.overlaps import measure_tracks

BASELINE = "mmdet's YTVIS and YTVISeval: loadRes, evaluate, accumulate, summarize"
# Both count in float64; what differs is the order of sums.
TOLERANCE = 1e-9
# Seconds of a part, run by run.
Parts = dict[str, list[float]]


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures, prints and returns the JSON object of the last line.

    Both start from the same Python objects, as parsed from files; reading files is in neither.

    Raises:
        UserError: if the two do not give the same metrics.
    """
    small = replace(settings, videos=2, frames=2, size=(64, 48), tracks=(2, 2))
    parts: Parts = {'baseline_load_s': [], 'baseline_evaluate_s': []}
    result = compare(functools.partial(make, parts=parts), settings, small)
    difference = metric_difference(result.outputs['ours'], result.outputs['baseline'])
    parts |= time_parts(settings)
    # The baseline's first run was to warm up.
    medians = {name: statistics.median(some[-settings.repeats :]) for name, some in parts.items()}
    measured = {
        'checks': 'ours checks every mask against its video, the baseline checks none',
        **medians,
        'bootstrap_ratio': medians['matching_s'] / max(medians['bootstrap_s'], 1e-12),
        **describe(track_set(settings)),
        'metrics': {name: result.outputs['ours'][name] for name in ALL_METRICS},
        'dtype': 'float64',
        'numpy': np.__version__,
        'pycocotools': version('pycocotools'),
        'mmdet': mmdet.__version__,
    }
    return report('evaluate', settings, result, difference, baseline=BASELINE, **measured)


def make(name: str, settings: Settings, parts: Parts | None = None) -> Variant:
    """Builds ``'ours'`` or ``'baseline'``, which notes the times of its parts in ``parts``."""
    inputs = track_set(settings)
    if name == 'ours':
        # What a run leaves behind is not to be cleared away in the time of the next.
        return Variant(lambda _: evaluate_tracks(inputs.annotations, inputs.results), gc.collect)

    def prepare() -> TrackSet:
        gc.collect()
        # Fresh entries with the same masks: the baseline writes into entries and lists.
        entries, results = (
            [{**entry, 'segmentations': list(entry['segmentations'])} for entry in some]
            for some in (inputs.annotations['annotations'], inputs.results)
        )
        return TrackSet({**inputs.annotations, 'annotations': entries}, results)

    return Variant(functools.partial(_run_baseline, parts={} if parts is None else parts), prepare)


def metric_difference(ours: dict[str, float], baseline: dict[str, float]) -> float:
    """Largest difference of the twelve metrics.

    Args:
        ours: By name.
        baseline: By name.

    Raises:
        UserError: if it is more than the order of sums explains.
    """
    differences = {name: abs(ours[name] - baseline[name]) for name in ALL_METRICS}
    for name, difference in differences.items():
        # Said so that NaN is an error too.
        if not difference < TOLERANCE:
            raise UserError(
                f'the evaluators do not agree: {name} is {ours[name]!r} of ours and '
                f'{baseline[name]!r} of the baseline, but must be equal to {TOLERANCE:g}.'
            )
    return max(differences.values())


def time_parts(settings: Settings) -> Parts:
    """Times matching (checks, overlaps and matches) and the bootstrap from what it found.

    Returns:
        ``matching_s`` and ``bootstrap_s``, seconds run by run.
    """
    inputs = track_set(settings)
    parts: Parts = {'matching_s': [], 'bootstrap_s': []}
    for repeat in range(settings.repeats):
        gc.collect()
        start = time.perf_counter()
        tracks = measure_tracks(ground_truth(inputs.annotations), inputs.results)
        matches = match_tracks(tracks, area_bins(tracks))
        matched = time.perf_counter()
        weights = resample_videos(settings.videos, settings.resamples, settings.seed)
        confidence_intervals(matches, weights)
        parts['matching_s'].append(matched - start)
        parts['bootstrap_s'].append(time.perf_counter() - matched)
        shown = ', '.join(f'{name[:-2]} {some[-1]:.4g} s' for name, some in parts.items())
        say(f'{repeat + 1}/{settings.repeats}: {shown}')
    return parts


def describe(inputs: TrackSet) -> dict[str, Any]:
    """Counts what is scored, for the JSON object."""
    masks = [mask for track in inputs.results for mask in track['segmentations'] if mask]
    return {
        'videos': len(inputs.annotations['videos']),
        'frames': sum(video['length'] for video in inputs.annotations['videos']),
        'objects': len(inputs.annotations['annotations']),
        'tracks': len(inputs.results),
        'masks': len(masks),
        'distinct_masks': len({mask['counts'] for mask in masks}),
        'mean_rle_bytes': sum(len(mask['counts']) for mask in masks) / max(len(masks), 1),
    }


@functools.lru_cache(maxsize=1)
def track_set(settings: Settings) -> TrackSet:
    """Draws what is scored, once for both."""
    return draw_track_set(settings)


def _run_baseline(inputs: TrackSet, parts: Parts) -> dict[str, float]:
    with quiet():
        # Here, since mmdet says on import what it cannot find.
        from mmdet.evaluation.functional import YTVIS, YTVISeval

        start = time.perf_counter()
        truth = YTVIS()
        truth.dataset = inputs.annotations
        truth.createIndex()
        found = truth.loadRes(inputs.results)
        loaded = time.perf_counter()
        evaluator = YTVISeval(truth, found, 'segm')
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        evaluated = time.perf_counter()
    parts.setdefault('baseline_load_s', []).append(loaded - start)
    parts.setdefault('baseline_evaluate_s', []).append(evaluated - loaded)
    return dict(zip(ALL_METRICS, evaluator.stats.tolist(), strict=True))
