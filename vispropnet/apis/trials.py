"""All trials in one go: what ``tools/run_trials.py`` calls."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from vispropnet.apis.attention_maps.requests import draw_request, parse_request
from vispropnet.apis.models import init_model
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.engine.folder_lock import locked_folder
from vispropnet.errors import Stopped, UserError
from vispropnet.trials.data import Data, check_data, data_of, make_data
from vispropnet.trials.devices import CPU, check_device, device_of, find_slots, this_machine
from vispropnet.trials.execution import command_lines, run_plan
from vispropnet.trials.kept_runs import (
    check_unpacked,
    join_manifests,
    keep_runs,
    read_kept,
    unpack_kept,
)
from vispropnet.trials.plan import Plan, command_of, default_out, make_plan, shown
from vispropnet.trials.report.page import write_report
from vispropnet.trials.scoring import score_trials
from vispropnet.trials.study_file import Study
from vispropnet.trials.table import markdown, write_tables
from vispropnet.trials.work_folder import (
    asked_before,
    check_manifest,
    digest,
    manifest_of,
    write_manifest,
)
from vispropnet.visualization.charts import draw_differences, plot_losses

RESAMPLES = 1000


def run_trials(
    study: Study,
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
    kept: str | os.PathLike | None = None,
) -> bool:
    """Trains, tests, scores and reports the trials of a study; resumes what was cut.

    Arguments are options of ``tools/run_trials.py``, see docs/trials.md; ``overrides`` are its
    ``--cfg-options``, ``print_only`` is ``--print-commands``. Of ``only``, seeds, data and
    overrides, None keeps the value of the previous run in this folder, else takes the default.

    Returns:
        Whether everything is done.

    Raises:
        UserError: if data are missing, or the folder holds something else.
    """
    out = default_out(study, preset) if out is None else Path(out)
    given = dict(only=only, seeds=seeds, baseline_seeds=baseline_seeds)
    given |= dict(data=data, data_seed=data_seed, overrides=overrides)
    given = {key: value for key, value in given.items() if value is not None}
    before = asked_before(out) if resume else {}
    plan = make_plan(study, preset, out, **{'baseline_seeds': 2, **before, **given})
    check_data(plan)
    slots = find_slots(jobs, plan.preset.runs_per_gpu)
    with locked_folder(plan.out, '--out') as lock:
        kept_runs = {} if kept is None else read_kept(plan, Path(kept))
        manifest = _prepare(plan, resume, kept_runs)
        if attention:
            content = read_annotation_file(data_of(plan)['test'].annotations)
            for request in attention:
                parse_request(request, content)
        if not print_only:
            check_device(plan)
        write_manifest(plan.out, manifest)
        if print_only:
            print('\n'.join(command_lines(plan)) or '# everything is done')
            return True
        if plan.left():
            manifest['hardware'] = sorted({*manifest.get('hardware', ()), this_machine()})
            write_manifest(plan.out, manifest)
        try:
            failed = run_plan(plan, slots, lock, _say)
        except Stopped:
            _keep(plan, kept, manifest, kept_runs)
            raise
        _keep(plan, kept, manifest, kept_runs)
        report_trials(plan, manifest, attention, kept)
    if failed:
        _say(f'{len(failed)} of {len(plan.runs)} runs failed: {", ".join(failed)}')
    return not failed


def report_trials(
    plan: Plan,
    manifest: dict[str, Any],
    attention: Sequence[str],
    kept: str | os.PathLike | None = None,
) -> None:
    """Writes table, curves and report of what is done; arguments as in :func:`run_trials`."""
    data = data_of(plan)['test']
    _say('scoring')
    table = dict(
        command=command_of(plan, kept),
        date=date.today().isoformat(),
        hardware=_hardware(plan, manifest),
        code=digest(manifest['code']),
        versions=manifest['versions'],
        **score_trials(plan, data.annotations, RESAMPLES),
    )
    written = write_tables(plan.out, table)
    print('\n' + markdown(table))
    curves = _draw_curves(plan)
    firsts = [plan.runs_of(trial)[0] for trial in plan.trials]
    results = {run.trial.name: run.tracks for run in firsts if run.done()}
    pictures = _attention(plan, data, attention)
    written += _draw_differences(plan, table)
    page, where = plan.out / 'report.html', (data.annotations, data.images)
    written.append(write_report(page, table, *where, results, curves, pictures))
    _say('wrote ' + ', '.join(shown(path) for path in [*written, *filter(None, [curves])]))


def _keep(
    plan: Plan,
    folder: str | os.PathLike | None,
    manifest: dict[str, Any],
    kept: Mapping[str, dict[str, Any]],
) -> None:
    """Keeps what is done, and checks that it fits to what was kept before, as in run_trials."""
    check_unpacked(plan)
    if folder is not None:
        written = keep_runs(plan, Path(folder), manifest, kept)
        _say(f'{len(kept)} runs were kept in {shown(folder)}, {len(written)} more are now')


def _prepare(plan: Plan, resume: bool, kept: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Makes the data, checks that the folder holds nothing else, and returns its manifest."""
    # Before the data are made, which may be those of other trials, and again with what they are.
    manifest = join_manifests(plan, manifest_of(plan), kept)
    manifest = check_manifest(plan.out, manifest, resume)
    make_data(plan, _say)
    manifest['annotations'] = {
        f'{part} on': hashlib.sha256(data.annotations.read_bytes()).hexdigest()[:16]
        for part, data in data_of(plan).items()
    }
    manifest = join_manifests(plan, manifest, kept)
    manifest = check_manifest(plan.out, manifest, resume)
    unpack_kept(plan, kept)
    return manifest


def _draw_differences(plan: Plan, table: Mapping[str, Any]) -> list[Path]:
    metric = plan.study.metrics[-1]
    rows = {row['name']: row for row in table['trials']}
    base = rows.pop(plan.study.baseline)
    compared = [row for row in rows.values() if row['difference']]
    if not compared:
        return []
    seeds = {
        row['name']: [*row['figures'][metric]['by_seed'].values()] for row in (base, *compared)
    }
    lines = [(row['title'], row['difference'][metric], seeds[row['name']]) for row in compared]
    name = base['title'], seeds[base['name']]
    return [draw_differences(plan.out / 'differences.png', name, lines, metric)]


def _draw_curves(plan: Plan) -> Path | None:
    runs = [run for run in plan.runs.values() if run.seed == 0 and run.trial in plan.trials]
    runs = [run for run in runs if 'train' in run.steps and run.trained()]
    if not runs:
        return None
    names = [run.trial.title for run in runs]
    return plot_losses([run.folder / 'train' for run in runs], plan.out / 'losses.svg', names)


def _attention(plan: Plan, data: Data, requests: Sequence[str]) -> list[dict[str, Any]]:
    """Draws attention maps of all trials that are done and have weights of their own."""
    content, pictures = read_annotation_file(data.annotations), []
    runs = [plan.runs_of(trial)[0] for trial in plan.trials if trial.trains]
    for run in [run for run in runs if run.done()]:
        config, options = run.config_and_options('test')
        for request in requests:
            try:
                model = init_model(config, run.checkpoint, overrides=options[:-1])
                found = draw_request(model, request, content, data.images)
            except UserError as error:
                # A model without attention, or an affinity by category at a place that has none.
                _say(f'no attention map of {request} for {run.trial.name}: {error}')
                continue
            for picture in found:
                pictures.append({**picture, 'title': f'{run.trial.title}: {picture["title"]}'})
    return pictures


def _hardware(plan: Plan, manifest: dict[str, Any]) -> str:
    """The hardware of the runs: machines of this command, and of a cluster's queue by the logs."""
    machines = list(manifest.get('hardware', ()))
    for device in sorted({device_of(run) for run in plan.runs.values()} - {None}):
        if not machines or (device != CPU and not any(device in one for one in machines)):
            machines.append(device)
    return '; '.join(machines) or 'unknown hardware'


def _say(line: str) -> None:
    print(time.strftime('%H:%M:%S'), line, file=sys.stderr, flush=True)
