"""Metrics of trials: means, intervals, differences, sizes and times."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vispropnet.config import load_config
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.errors import UserError
from vispropnet.evaluation.confidence import (
    LEVEL,
    confidence_intervals,
    paired_differences,
    resample_videos,
)
from vispropnet.fileio import read_json
from vispropnet.trials.measures import Measure, costs_of_test, make_measure
from vispropnet.trials.plan import Plan, Run, shown
from vispropnet.trials.seeds import pooled_deviation, seed_error, with_seeds
from vispropnet.trials.study_file import Trial
from vispropnet.visualization.training_log import read_scalars

# In the state dict, but not learnt.
_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')
_SEED = 0  # of the resampling
SAME, CONTINUED, APART = 'same', 'continued', 'apart'


def score_trials(plan: Plan, annotations: Path | None, resamples: int) -> dict[str, Any]:
    """Scores everything that is done.

    Args:
        plan: The runs.
        annotations: Annotation file of the test videos, where the data have one.
        resamples: How often to resample the videos for intervals.

    Returns:
        ``title``, ``about``, ``preset``, ``metrics`` (names, the main one last), ``baseline``,
        ``data`` (counts), ``bootstrap``, ``published`` (a remark, or None), ``power`` (how far
        seeds and videos put the main metric off, ``deviation`` and ``over_videos``, or None, see
        :func:`~vispropnet.trials.seeds.seeds_to_tell`) and ``trials``: for each
        its ``name``, ``title``,
        ``change``, ``config``, ``trains`` (its weights are not the baseline's), ``state``
        (``done``, ``failed`` or ``missing``), ``failure``, ``seeds``, ``figures`` (by metric
        ``mean``, ``ci``, ``by_seed``, ``seed_spread``: the largest minus the smallest),
        ``difference`` to the baseline (by metric ``value``, ``ci`` and ``above_zero`` over videos,
        ``seed_error``, ``ci_both``, see :func:`~vispropnet.trials.seeds.with_seeds`),
        ``parameters``, ``train_s_per_frame``, ``test_s_per_frame``, ``errors`` (of the first seed)
        and ``published``; with given objects ``frames_kept`` (in memory, at the end of a video) and
        ``peak_mib`` (of memory, at test). Fit for JSON.

    Raises:
        UserError: if a file is damaged.
    """
    done = {trial.name: [run for run in plan.runs_of(trial) if run.done()] for trial in plan.trials}
    metrics = plan.study.metrics
    measure = make_measure(metrics, [run for some in done.values() for run in some], annotations)
    weights = resample_videos(max(measure.data['videos'], 1), resamples, _SEED)
    scores = {name: {run.seed: measure.read(run) for run in runs} for name, runs in done.items()}
    baseline = plan.study.baseline
    rows = {}
    for trial in plan.trials:
        rows[trial.name] = row = _description(plan, trial)
        ours = scores[trial.name]
        row['state'] = 'done' if ours else 'failed' if row['failure'] else 'missing'
        if ours:
            row.update(_metrics(measure, ours, weights))
            row.update(_costs(plan, trial))
        if ours and scores[baseline] and trial.name != baseline:
            theirs = scores[baseline]
            if _relation(plan, trial) != APART and (common := ours.keys() & theirs.keys()):
                ours, theirs = ({seed: one[seed] for seed in common} for one in (ours, theirs))
            pair = [*ours.values()], [*theirs.values()]
            row['difference'] = _differences(measure, *pair, weights)
    for metric in metrics:
        _add_seed_errors(plan, rows, metric)
    return dict(
        title=plan.study.title,
        about=plan.study.about,
        preset=plan.preset.name,
        metrics=list(metrics),
        baseline=baseline,
        data=dict(name=_data_name(plan), **measure.data),
        bootstrap=dict(resamples=resamples, seed=_SEED, level=LEVEL),
        published=plan.preset.published or None,
        power=_power(plan, rows),
        trials=list(rows.values()),
    )


def _relation(plan: Plan, trial: Trial) -> str:
    """Relation of the weights of a trial to those of the baseline; but for APART, seed by seed."""
    ours, base = map(plan.study.trained, (trial, plan.study.trial(plan.study.baseline)))
    if ours == base:
        return SAME
    return CONTINUED if ours.starts_from == base.name else APART


def _differences(
    measure: Measure, ours: Sequence[Any], baseline: Sequence[Any], weights: np.ndarray
) -> dict[str, dict[str, Any]]:
    names = measure.metrics
    found = paired_differences(ours, baseline, weights, names, measure.weighted)
    plain = [[_plain(measure, one, weights) for one in some] for some in (ours, baseline)]
    differences = {}
    for name in names:
        mean, other = (statistics.fmean(one[name] for one in some) for some in plain)
        # A single video has no interval.
        differences[name] = found[name] or dict(value=mean - other, ci=None, above_zero=None)
    return differences


def _plain(measure: Measure, results: Any, weights: np.ndarray) -> dict[str, float]:
    once = np.ones((1, weights.shape[1]))
    found = measure.weighted(results, once, measure.metrics)
    return {name: float(one[0]) for name, one in found.items()}


def _add_seed_errors(plan: Plan, rows: Mapping[str, dict[str, Any]], metric: str) -> None:
    """Adds to each difference of a metric what other seeds would change."""
    baseline = plan.study.baseline
    by_seed = _by_seed(rows, metric)
    deviation = _deviation(plan, by_seed)
    for trial in plan.trials:
        differences = rows[trial.name]['difference']
        if differences is None:
            continue
        ours, theirs = by_seed[trial.name], by_seed[baseline]
        common = ours.keys() & theirs.keys()
        relation = _relation(plan, trial)
        if relation == SAME:
            paired = [ours[one] - theirs[one] for one in common]
            error = seed_error(*pooled_deviation([paired]), len(common))
        else:
            shared = relation == CONTINUED and common
            counts = (len(common),) * 2 if shared else (len(ours), len(theirs))
            error = seed_error(*deviation, *counts)
        differences[metric] = with_seeds(differences[metric], error)


def _by_seed(rows: Mapping[str, dict[str, Any]], metric: str) -> dict[str, dict[int, float]]:
    """A metric of each trial, by name and seed."""
    return {
        name: (row['figures'] or {}).get(metric, {}).get('by_seed', {})
        for name, row in rows.items()
    }


def _deviation(plan: Plan, by_seed: Mapping[str, Mapping[int, float]]) -> tuple[float | None, int]:
    """Of seeds within trainings, and its degrees of freedom."""
    # Each training counts once: by the trial itself, if it is among them.
    trials = sorted(plan.trials, key=lambda trial: trial.trains)
    samples = {plan.study.trained(one).name: [*by_seed[one.name].values()] for one in trials}
    return pooled_deviation([*samples.values()])


def _power(plan: Plan, rows: Mapping[str, dict[str, Any]]) -> dict[str, float] | None:
    """What a study has to tell differences between trainings with; None if it is not known."""
    metric = plan.study.metrics[-1]
    trained = [row for row in rows.values() if row['trains'] and row['figures']]
    deviation, _ = _deviation(plan, _by_seed(rows, metric))
    differences = [row['difference'][metric] for row in trained if row['difference']]
    halves = [(one['ci'][1] - one['ci'][0]) / 2 for one in differences if one['ci']]
    if deviation is None or not halves:
        return None
    return dict(deviation=deviation, over_videos=statistics.median(halves))


def _description(plan: Plan, trial: Trial) -> dict[str, Any]:
    failures = [run.failure for run in plan.runs_of(trial) if run.failure.exists()]
    published = None
    if plan.preset.published and trial.published:
        published = {name: trial.published.get(name) for name in plan.study.metrics}
    empty = ('figures', 'difference', 'parameters', 'train_s_per_frame', 'test_s_per_frame')
    return dict(
        name=trial.name,
        title=trial.title,
        change=trial.change,
        config=plan.preset.config_of(trial),
        trains=trial.name == plan.study.baseline or _relation(plan, trial) != SAME,
        failure=read_json(failures[0]) if failures else None,
        seeds=[],
        **dict.fromkeys(empty),
        errors=None,
        published=published,
    )


def _metrics(measure: Measure, results: Mapping[int, Any], weights: np.ndarray) -> dict[str, Any]:
    plain = {str(seed): _plain(measure, one, weights) for seed, one in results.items()}
    several, names = list(results.values()), measure.metrics
    intervals = confidence_intervals(several, weights, names, measure.weighted, measure.limits)
    figures = {}
    for name in names:
        values = {seed: one[name] for seed, one in plain.items()}
        spread = max(values.values()) - min(values.values())
        figures[name] = dict(
            mean=statistics.fmean(values.values()),
            ci=intervals[name] and list(intervals[name]),
            by_seed=values,
            seed_spread=spread if len(values) > 1 else None,
        )
    return dict(seeds=list(results), figures=figures, errors=measure.errors(several[0]))


def _costs(plan: Plan, trial: Trial) -> dict[str, Any]:
    runs = [run for run in plan.runs_of(trial) if run.done()]
    costs = [run_costs(plan.study.metrics, run) for run in runs]
    found = {name: _median([one[name] for one in costs]) for name in costs[0]}
    return {**found, 'parameters': costs[0]['parameters']}


def run_costs(metrics: Sequence[str], run: Run) -> dict[str, float | None]:
    """Reads what a run that is done cost.

    Args:
        metrics: Of its study.
        run: The run.

    Returns:
        ``parameters``, ``train_s_per_frame`` and those of its test, None if unknown.
    """
    if run.kept.exists():
        return read_json(run.kept)['costs']
    return dict(
        parameters=count_parameters(run.checkpoint),
        train_s_per_frame=seconds_of_training(run) if 'train' in run.steps else None,
        **costs_of_test(metrics, run),
    )


def count_parameters(checkpoint: Path) -> int | None:
    """Counts the learnt weights of a checkpoint; None if the file is gone."""
    if not checkpoint.exists():
        return None
    weights = read_checkpoint(checkpoint)['state_dict']
    return sum(one.numel() for key, one in weights.items() if not key.endswith(_BUFFERS))


def seconds_of_training(run: Run) -> float | None:
    """Reads the seconds that training took for a frame, key or reference: a median, or None."""
    try:
        rows = read_scalars(run.folder / 'train')
    except UserError:
        return None
    loader = load_config(*run.config_and_options('train')).train_dataloader
    seconds = _median([row.get('time') for row in rows if 'loss' in row])
    dataset = loader.dataset
    frames = loader.batch_size * dataset.get('clip_length', 1 + dataset.get('num_refs', 1))
    return seconds and seconds / frames


def _median(values: Sequence[float | None]) -> float | None:
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def _data_name(plan: Plan) -> str:
    preset = plan.preset
    if plan.shapes_options():
        return f'moving shapes, {preset.shapes.preset}, seed {plan.arguments["data_seed"]}'
    if preset.data_name and plan.data:
        return f'{preset.data_name} of {shown(plan.data)}'
    return preset.data_name or (shown(plan.data) if plan.data else preset.name)
