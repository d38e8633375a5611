"""Our evaluator beside mmdet's ``YTVISeval``."""

from __future__ import annotations

import functools
import gc
import statistics
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import mmdet
import numpy as np

from benchmarking.checks import check_positive
from benchmarking.measure import Variant, circumstances, compare, report, say
from benchmarking.track_sets import TrackSet, draw_track_set
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import FIGURES, evaluate_tracks
from vispropnet.evaluation.confidence import confidence_intervals, resample_videos
from vispropnet.evaluation.ground_truth import ground_truth
from vispropnet.evaluation.matching import Matches, area_bins, match_tracks
from vispropnet.evaluation.overlaps import measure_tracks

BASELINE = "mmdet's YTVIS and YTVISeval: loadRes, evaluate, accumulate, summarize"
# Both count in float64; what differs is the order of sums.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Settings:
    """What is scored: by default as much as the validation set of YouTube-VIS 2021 has.

    Args:
        videos: How many.
        frames: Of a video, a fifth more or less.
        size: Width and height of the frames in pixels.
        tracks: The fewest and the most of a video.
        categories: How many.
        resamples: Data sets of the bootstrap.
        seed: Of the inputs and of the bootstrap.
        distinct: Whether no mask is there twice; otherwise tracks share some.
    """

    videos: int = 421
    frames: int = 30
    size: tuple[int, int] = (1280, 720)
    tracks: tuple[int, int] = (10, 100)
    categories: int = 40
    resamples: int = 1000
    seed: int = 0
    distinct: bool = False

    def check(self) -> None:
        """Checks them.

        Raises:
            UserError: for what cannot be drawn.
        """
        check_positive(
            videos=self.videos,
            frames=self.frames,
            categories=self.categories,
            resamples=self.resamples,
        )
        if min(self.size) < 32:
            raise UserError(
                f'--size takes a width and a height of 32 or more, got {self.size[0]} '
                f'{self.size[1]}.'
            )
        if not 0 < self.tracks[0] <= self.tracks[1]:
            raise UserError(
                '--tracks takes the fewest and the most of a video, 1 or more, got '
                f'{self.tracks[0]} {self.tracks[1]}.'
            )
        if self.seed < 0:
            raise UserError(f'--seed must be 0 or more, got {self.seed}.')


def benchmark(settings: Settings, repeats: int, memory: bool = True) -> dict[str, Any]:
    """Measures, prints and returns the figures.

    Both start from the same Python objects, as parsed from files; reading files is in neither.

    Args:
        settings: What is scored.
        repeats: Timed runs of each.
        memory: Whether memory is measured.

    Returns:
        The JSON object of the last line.

    Raises:
        UserError: for settings that cannot be run, or if the two do not give the same figures.
    """
    settings.check()
    check_positive(repeats=repeats)
    small = replace(settings, videos=2, frames=2, size=(64, 48), tracks=(2, 2))
    parts: dict[str, list[float]] = {'baseline_load_s': [], 'baseline_evaluate_s': []}
    result = compare(functools.partial(make, parts=parts), settings, small, repeats, 'cpu', memory)
    difference = figure_difference(result.outputs['ours'], result.outputs['baseline'])
    parts.update(time_parts(settings, repeats))
    # The baseline's first run was to warm up.
    medians = {name: statistics.median(some[-repeats:]) for name, some in parts.items()}
    measured = {
        'baseline': BASELINE,
        'checks': 'ours checks every mask against its video, the baseline checks none',
        **medians,
        'bootstrap_ratio': medians['matching_s'] / max(medians['bootstrap_s'], 1e-12),
        **{name: getattr(settings, name) for name in ('resamples', 'size', 'categories')},
        **describe(track_set(settings)),
        'figures': {name: result.outputs['ours'][name] for name in FIGURES},
        **circumstances('cpu', repeats, settings.seed),
        'dtype': 'float64',
        'numpy': np.__version__,
        'pycocotools': version('pycocotools'),
        'mmdet': mmdet.__version__,
    }
    return report('evaluate', result, difference, measured)


def make(name: str, settings: Settings, parts: dict[str, list[float]] | None = None) -> Variant:
    """Builds one of the two for :func:`~benchmarking.measure.compare`.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: What is scored.
        parts: Takes the seconds of the baseline's parts, run by run.
    """
    inputs = track_set(settings)
    if name == 'ours':

        def ours(_: None) -> dict[str, float]:
            return evaluate_tracks(inputs.annotations, inputs.results)

        return Variant(ours, _collect_garbage)

    def prepare() -> TrackSet:
        _collect_garbage()
        return _copy(inputs)

    return Variant(functools.partial(_run_baseline, parts={} if parts is None else parts), prepare)


def figure_difference(ours: dict[str, float], baseline: dict[str, float]) -> float:
    """Largest difference of the twelve figures.

    Args:
        ours: By name.
        baseline: By name.

    Raises:
        UserError: if it is more than the order of sums explains.
    """
    differences = {name: abs(ours[name] - baseline[name]) for name in FIGURES}
    for name, difference in differences.items():
        # Said so that NaN is an error too.
        if not difference < TOLERANCE:
            raise UserError(
                f'the evaluators do not agree: {name} is {ours[name]!r} of ours and '
                f'{baseline[name]!r} of the baseline, but must be equal to {TOLERANCE:g}.'
            )
    return max(differences.values())


def time_parts(settings: Settings, repeats: int) -> dict[str, list[float]]:
    """Times matching (checks, overlaps and matches) and the bootstrap from what it found.

    Args:
        settings: What is scored.
        repeats: Timed runs of each, in turn.

    Returns:
        ``matching_s`` and ``bootstrap_s``, seconds run by run.
    """
    inputs = track_set(settings)
    parts: dict[str, list[float]] = {'matching_s': [], 'bootstrap_s': []}
    for repeat in range(repeats):
        _collect_garbage()
        start = time.perf_counter()
        matches = _match(inputs)
        matched = time.perf_counter()
        weights = resample_videos(settings.videos, settings.resamples, settings.seed)
        confidence_intervals(matches, weights)
        parts['matching_s'].append(matched - start)
        parts['bootstrap_s'].append(time.perf_counter() - matched)
        shown = ', '.join(f'{name[:-2]} {some[-1]:.4g} s' for name, some in parts.items())
        say(f'{repeat + 1}/{repeats}: {shown}')
    return parts


def describe(inputs: TrackSet) -> dict[str, Any]:
    """Counts what is scored, for the JSON object.

    Args:
        inputs: What is scored.
    """
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
    """Draws what is scored, once for both.

    Args:
        settings: What is scored.
    """
    return draw_track_set(
        settings.videos,
        settings.frames,
        settings.size,
        settings.tracks,
        settings.categories,
        settings.seed,
        settings.distinct,
    )


def _run_baseline(inputs: TrackSet, parts: dict[str, list[float]]) -> dict[str, float]:
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
    return dict(zip(FIGURES, evaluator.stats.tolist(), strict=True))


def _match(inputs: TrackSet) -> Matches:
    tracks = measure_tracks(ground_truth(inputs.annotations), inputs.results)
    return match_tracks(tracks, area_bins(tracks))


def _copy(inputs: TrackSet) -> TrackSet:
    """Fresh entries with the same masks: the baseline writes into entries and lists."""
    entries, results = (
        [{**entry, 'segmentations': list(entry['segmentations'])} for entry in some]
        for some in (inputs.annotations['annotations'], inputs.results)
    )
    return TrackSet({**inputs.annotations, 'annotations': entries}, results)


def _collect_garbage() -> None:
    """What a run leaves behind is not to be cleared away in the time of the next."""
    gc.collect()
