"""All trials in one go: what ``tools/run_trials.py`` calls."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from mmengine.config import Config

from vispropnet.config import load_config
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.errors import UserError
from vispropnet.trials.catalogue import BASELINE
from vispropnet.trials.data import check_data, make_data
from vispropnet.trials.devices import CPU, check_device, device_of, find_slots, this_machine
from vispropnet.trials.plan import Plan, command_of, default_out, make_plan, shown
from vispropnet.trials.presets import PRESETS
from vispropnet.trials.report import write_report
from vispropnet.trials.running import command_lines, run_plan
from vispropnet.trials.scoring import score_trials
from vispropnet.trials.table import markdown, write_tables
from vispropnet.trials.work_folder import (
    asked_before,
    check_manifest,
    digest,
    locked,
    manifest_of,
    write_manifest,
)
from vispropnet.visualization.curves import plot_losses

RESAMPLES = 1000
# What is asked for unless it is told otherwise.
AT_FIRST = dict(only=None, seeds=1, baseline_seeds=2, data=None, data_seed=0, overrides=())


def run_trials(
    preset: str,
    out: str | os.PathLike | None = None,
    only: Sequence[str] | None = None,
    seeds: int | None = None,
    baseline_seeds: int | None = None,
    resume: bool = False,
    jobs: int | None = None,
    data: str | os.PathLike | None = None,
    data_seed: int | None = None,
    overrides: Sequence[str] | None = None,
    print_only: bool = False,
    attention: Sequence[str] = (),
) -> bool:
    """Trains, tests, scores and reports trials; goes on where it was cut.

    What is None is as it was when the folder was begun or last gone on with, or else as told below.

    Args:
        preset: Name of the preset.
        out: Folder of everything; None for ``work_dirs/trials/<preset>``.
        only: Names of trials, to which the baseline is added; at first all.
        seeds: Runs of each trial; at first 1.
        baseline_seeds: Runs of the baseline, if more, which show what a seed changes; at first 2.
        resume: Whether the folder may hold runs of the same trials.
        jobs: Runs at a time; None for as many as the preset puts on each GPU, or one on each core.
        data: Folder of the data; at first what the preset makes or its configs name.
        data_seed: Seed of the data, where the preset makes them; at first 0.
        overrides: ``key=value`` changes of all configs; at first none.
        print_only: Whether to print what is left to run instead of running it.
        attention: Requests for attention maps in the report, see
            :func:`~vispropnet.apis.attention_maps.requests.attention_of_results`.

    Returns:
        Whether everything is done.

    Raises:
        UserError: if data are missing, or the folder holds something else.
    """
    asked = dict(
        only=only,
        seeds=seeds,
        baseline_seeds=baseline_seeds,
        data=data,
        data_seed=data_seed,
        overrides=overrides,
    )
    plan = _plan(preset, out, resume, asked)
    slots = find_slots(jobs, plan.preset.runs_per_gpu)
    with locked(plan.out) as lock:
        manifest = _prepare(plan, resume)
        _check_requests(plan, attention)
        if not print_only:
            check_device(plan)
        write_manifest(plan.out, manifest)
        if print_only:
            print('\n'.join(command_lines(plan)) or '# everything is done')
            return True
        if plan.left():
            manifest['hardware'] = sorted({*manifest.get('hardware', ()), this_machine()})
            write_manifest(plan.out, manifest)
        failed = run_plan(plan, slots, lock, _say)
        report_trials(plan, manifest, attention)
    if failed:
        _say(f'{len(failed)} of {len(plan.runs)} runs failed: {", ".join(failed)}')
    return not failed


def report_trials(plan: Plan, manifest: dict[str, Any], attention: Sequence[str]) -> None:
    """Writes table, curves and report of what is done.

    Args:
        plan: The runs.
        manifest: What the folder is marked with.
        attention: As in :func:`run_trials`.
    """
    annotations, images = _test_data(plan)
    _say('scoring')
    table = dict(
        command=command_of(plan),
        date=date.today().isoformat(),
        hardware=_hardware(plan, manifest),
        code=digest(manifest['code']),
        versions=manifest['versions'],
        **score_trials(plan, annotations, RESAMPLES),
    )
    written = write_tables(plan.out, table)
    print('\n' + markdown(table))
    curves = _draw_curves(plan)
    pictures = _attention(plan, annotations, images, attention)
    written.append(_write_page(plan, table, annotations, images, curves, pictures))
    _say('wrote ' + ', '.join(shown(path) for path in [*written, *filter(None, [curves])]))


def _plan(preset: str, out: str | os.PathLike | None, resume: bool, asked: dict[str, Any]) -> Plan:
    """Makes the plan, where what is not asked for now is as it was before."""
    out = default_out(PRESETS[preset]) if out is None else Path(out)
    before = {**AT_FIRST, **(asked_before(out) if resume else {})}
    asked = {key: before[key] if value is None else value for key, value in asked.items()}
    plan = make_plan(PRESETS[preset], out, **asked)
    check_data(plan)
    return plan


def _prepare(plan: Plan, resume: bool) -> dict[str, Any]:
    """Makes the data, sees that the folder holds nothing else, and gives what to mark it with."""
    # Before the data are made, which may be those of other trials, and again with what they are.
    manifest = check_manifest(plan.out, manifest_of(plan), resume)
    make_data(plan, _say)
    manifest['annotations'] = _digests(plan)
    return check_manifest(plan.out, manifest, resume)


def _draw_curves(plan: Plan) -> Path | None:
    runs = [run for run in plan.runs.values() if run.seed == 0 and run.trial in plan.trials]
    runs = [run for run in runs if 'train' in run.steps and run.trained()]
    if not runs:
        return None
    names = [run.trial.title for run in runs]
    return plot_losses([run.folder / 'train' for run in runs], plan.out / 'losses.svg', names)


def _attention(
    plan: Plan, annotations: Path, images: Path, requests: Sequence[str]
) -> list[dict[str, Any]]:
    if not requests:
        return []
    # Later: models take seconds to import.
    from vispropnet.apis.attention_maps.requests import attention_of_results

    pictures = []
    for trial in plan.trials:
        run = plan.runs_of(trial)[0]
        if trial.weights_of or not run.done() or not trial.has_attention:
            continue
        test = run.steps['test']
        options = test[test.index('--cfg-options') + 1 : -1]
        for request in requests:
            try:
                found = attention_of_results(
                    test[1], run.checkpoint, annotations, images, [request], options
                )
            except UserError as error:
                # An affinity by category has nothing to say of a position that has none.
                _say(f'no attention map of {request} for {trial.name}: {error}')
                continue
            for picture in found:
                pictures.append({**picture, 'title': f'{trial.title}: {picture["title"]}'})
    return pictures


def _check_requests(plan: Plan, requests: Sequence[str]) -> None:
    """Checks what maps are asked for, before the runs that they come after."""
    if not requests:
        return
    # Later: models take seconds to import.
    from vispropnet.apis.attention_maps.requests import parse_request

    content = read_annotation_file(_test_data(plan)[0])
    for request in requests:
        parse_request(request, content)


def _write_page(
    plan: Plan,
    table: dict[str, Any],
    annotations: Path,
    images: Path,
    curves: Path | None,
    pictures: list[dict[str, Any]],
) -> Path:
    firsts = {trial.name: plan.runs_of(trial)[0] for trial in plan.trials}
    results = {name: run.results for name, run in firsts.items() if run.done()}
    return write_report(
        plan.out / 'report.html', table, annotations, images, results, curves, pictures
    )


def _test_config(plan: Plan) -> Config:
    test = plan.runs[f'{BASELINE}/seed-0'].steps['test']
    return load_config(test[1], test[test.index('--cfg-options') + 1 :])


def _test_data(plan: Plan) -> tuple[Path, Path]:
    config = _test_config(plan)
    dataset = config.test_dataloader.dataset
    images = Path(dataset.get('data_root') or '', dataset.data_prefix['img'])
    return Path(config.test_evaluator.ann_file), images


def _digests(plan: Plan) -> dict[str, str]:
    """Digests of the annotations, by what they are for."""
    config = _test_config(plan)
    digests = {}
    for part, use in (('train', 'train on'), ('test', 'test on')):
        dataset = config[f'{part}_dataloader'].dataset
        path = Path(dataset.get('data_root') or '', dataset.ann_file)
        digests[use] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return digests


def _hardware(plan: Plan, manifest: dict[str, Any]) -> str:
    """What the runs were made on: here, or by a cluster's queue, of which the logs tell."""
    machines = list(manifest.get('hardware', ()))
    for device in sorted({device_of(run) for run in plan.runs.values()} - {None}):
        if not machines or (device != CPU and not any(device in one for one in machines)):
            machines.append(device)
    return '; '.join(machines) or 'unknown hardware'


def _say(line: str) -> None:
    print(time.strftime('%H:%M:%S'), line, file=sys.stderr, flush=True)
