"""What the trials gave: figures, intervals, differences, sizes and times."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vispropnet.config import load_config
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import weighted_metrics
from vispropnet.evaluation.confidence import (
    LEVEL,
    as_json,
    confidence_intervals,
    paired_differences,
    resample_videos,
)
from vispropnet.evaluation.error_kinds import classify_errors, error_gains
from vispropnet.evaluation.ground_truth import GroundTruth, read_ground_truth
from vispropnet.evaluation.matching import Matches
from vispropnet.evaluation.report import score_file
from vispropnet.fileio import read_json
from vispropnet.trials.catalogue import BASELINE, FIGURES, Trial
from vispropnet.trials.plan import Plan, Run, read_last_record, shown
from vispropnet.trials.seeds import (
    error_of_difference,
    error_of_paired_difference,
    pooled_deviation,
    with_seeds,
)
from vispropnet.visualization.training_log import read_scalars

# In the state dict, but not learnt.
_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')


def score_trials(plan: Plan, annotations: Path, resamples: int, seed: int = 0) -> dict[str, Any]:
    """Scores everything that is done.

    Args:
        plan: The runs.
        annotations: Annotation file of the test videos.
        resamples: How often to resample the videos for intervals.
        seed: Of the resampling.

    Returns:
        ``preset``, ``baseline``, ``data`` (counts), ``bootstrap`` and ``trials``: for each its
        ``name``, ``title``, ``change``, ``config``, ``trains``, ``state`` (``done``, ``failed`` or
        ``missing``), ``failure``, ``seeds``, ``figures`` (by name ``mean``, ``ci``, ``by_seed``,
        ``seed_spread``: the largest minus the smallest), ``difference`` to the baseline (by name
        ``value``, ``ci`` and ``above_zero`` over videos, ``seed_error``, ``ci_both``, see
        :func:`~vispropnet.trials.seeds.with_seeds`), ``parameters``, ``train_s_per_frame``,
        ``test_s_per_frame``, ``errors`` (of the first seed) and ``published``. Fit for JSON.

    Raises:
        UserError: if a file is damaged.
    """
    truth = read_ground_truth(annotations)
    weights = resample_videos(len(truth.videos), resamples, seed)
    scores = {trial.name: _score(plan, trial, truth) for trial in plan.trials}
    baseline = scores[BASELINE]
    rows = []
    for trial in plan.trials:
        row = _description(plan, trial)
        ours = scores[trial.name]
        row['state'] = 'done' if ours else 'failed' if row['failure'] else 'missing'
        if ours:
            row.update(_row(ours, weights))
            row.update(_costs(plan, trial))
        if ours and baseline and trial.name != BASELINE:
            pair = _compared(trial, ours, baseline)
            differences = paired_differences(*pair, weights, _NAMES)
            row['difference'] = _renamed(as_json(differences))
        rows.append(row)
    _add_seed_errors(plan, rows)
    return dict(
        preset=plan.preset.name,
        baseline=BASELINE,
        data=dict(
            name=_data_name(plan),
            videos=len(truth.videos),
            frames=sum(video.entry['length'] for video in truth.videos),
            objects=len(truth.category),
        ),
        bootstrap=dict(resamples=resamples, seed=seed, level=LEVEL),
        trials=rows,
    )


_NAMES = tuple('AP' if name == 'mAP' else name for name in FIGURES)


def _score(plan: Plan, trial: Trial, truth: GroundTruth) -> dict[int, Matches]:
    """Matches by seed, of the runs that are done."""
    return {
        run.seed: score_file(truth, run.results, frame_by_frame=True).matches
        for run in plan.runs_of(trial)
        if run.done()
    }


def _compared(
    trial: Trial, ours: Mapping[int, Matches], baseline: Mapping[int, Matches]
) -> tuple[list[Matches], list[Matches]]:
    """The results to compare: a trial on the baseline's weights goes by the same seeds."""
    common = ours.keys() & baseline.keys()
    if BASELINE in (trial.weights_of, trial.starts_from) and common:
        ours, baseline = ({seed: one[seed] for seed in common} for one in (ours, baseline))
    return list(ours.values()), list(baseline.values())


def _add_seed_errors(plan: Plan, rows: list[dict[str, Any]]) -> None:
    """Tells of each difference what other seeds would change."""
    by_name = {row['name']: row for row in rows}
    for figure in FIGURES:
        by_seed = {
            trial.name: (by_name[trial.name]['figures'] or {}).get(figure, {}).get('by_seed', {})
            for trial in plan.trials
        }
        samples = [list(by_seed[trial.name].values()) for trial in plan.trials if trial.trains()]
        deviation = pooled_deviation(samples)
        for trial in plan.trials:
            row = by_name[trial.name]
            if row['difference'] is None:
                continue
            ours, baseline = by_seed[trial.name], by_seed[BASELINE]
            common = ours.keys() & baseline.keys()
            if not trial.trains():
                error = error_of_paired_difference([ours[one] - baseline[one] for one in common])
            else:
                shared = trial.starts_from == BASELINE and common
                counts = (len(common),) * 2 if shared else (len(ours), len(baseline))
                error = error_of_difference(*deviation, *counts)
            row['difference'][figure] = with_seeds(row['difference'][figure], error)


def _description(plan: Plan, trial: Trial) -> dict[str, Any]:
    failures = [read_json(run.failure) for run in plan.runs_of(trial) if run.failure.exists()]
    published = None
    if plan.preset.published and trial.published:
        published = dict(zip(FIGURES, trial.published, strict=True))
    return dict(
        name=trial.name,
        title=trial.title,
        change=trial.change,
        config=plan.preset.config_of(trial),
        trains=trial.trains(),
        failure=failures[0] if failures else None,
        seeds=[],
        figures=None,
        difference=None,
        parameters=None,
        train_s_per_frame=None,
        test_s_per_frame=None,
        errors=None,
        published=published,
    )


def _row(matches: Mapping[int, Matches], weights: np.ndarray) -> dict[str, Any]:
    ones = np.ones((1, weights.shape[1]))
    plain = {seed: weighted_metrics(one, ones, _NAMES) for seed, one in matches.items()}
    intervals = confidence_intervals(list(matches.values()), weights, _NAMES)
    figures = {}
    for shown_as, name in zip(FIGURES, _NAMES, strict=True):
        values = {str(seed): float(one[name][0]) for seed, one in plain.items()}
        ends = intervals[name]
        figures[shown_as] = dict(
            mean=statistics.fmean(values.values()),
            ci=ends and list(ends),
            by_seed=values,
            seed_spread=max(values.values()) - min(values.values()) if len(values) > 1 else None,
        )
    first = next(iter(matches.values()))
    return dict(
        seeds=list(matches),
        figures=figures,
        errors=error_gains(first, classify_errors(first)),
    )


def _costs(plan: Plan, trial: Trial) -> dict[str, Any]:
    runs = [run for run in plan.runs_of(trial) if run.done()]
    trained = [run for run in runs if 'train' in run.steps]
    return dict(
        parameters=count_parameters(runs[0].checkpoint),
        train_s_per_frame=_median([seconds_of_training(run) for run in trained]),
        test_s_per_frame=_median([seconds_of_test(run) for run in runs]),
    )


def count_parameters(checkpoint: Path) -> int | None:
    """Counts what is learnt of the weights of a checkpoint.

    Args:
        checkpoint: The file.

    Returns:
        The number; None if the file is gone.

    Raises:
        UserError: if it cannot be read.
    """
    if not checkpoint.exists():
        return None
    weights = read_checkpoint(checkpoint)['state_dict']
    return sum(one.numel() for key, one in weights.items() if not key.endswith(_BUFFERS))


def seconds_of_training(run: Run) -> float | None:
    """Gives the seconds that training took for a frame, key or reference.

    Args:
        run: A run with training.

    Returns:
        The median over the logged iterations; None if nothing was logged.

    Raises:
        UserError: if the log is damaged.
    """
    try:
        rows = read_scalars(run.folder / 'train')
    except UserError:
        return None
    command = run.steps['train']
    config = load_config(command[1], command[command.index('--cfg-options') + 1 :])
    seconds = _median([row.get('time') for row in rows if 'loss' in row])
    loader = config.train_dataloader
    frames = loader.batch_size * (1 + loader.dataset.get('num_refs', 1))
    return seconds and seconds / frames


def seconds_of_test(run: Run) -> float | None:
    """Gives the seconds that test took for a frame, from reading it to its masks.

    Args:
        run: A run whose test is done.

    Returns:
        The mean over the frames; None if nothing was logged.
    """
    record = read_last_record(list((run.folder / 'test').glob('*/*.json')))
    return record.get('time') if record else None


def _median(values: Sequence[float | None]) -> float | None:
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def _renamed(differences: dict[str, Any]) -> dict[str, Any]:
    return {shown_as: differences[name] for shown_as, name in zip(FIGURES, _NAMES, strict=True)}


def _data_name(plan: Plan) -> str:
    if plan.makes_data():
        return f'moving shapes, {plan.preset.shapes.kind}, seed {plan.data_seed}'
    if not plan.preset.split:
        return shown(plan.data)
    about = f'{plan.preset.about.split(",")[0]}, local split'
    return f'{about} of {shown(plan.data)}' if plan.data else about
