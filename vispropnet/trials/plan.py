"""All runs of trials and their commands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vispropnet.config import load_config
from vispropnet.errors import UserError
from vispropnet.trials.one_run import Run, shown
from vispropnet.trials.study import Preset, Study, Trial

ROOT = Path(__file__).resolve().parent.parent.parent
_EPOCHS = 'train_cfg.max_epochs='
# Signs that options of configs do not take as text.
_NOT_IN_OPTIONS = set(',()[]{}\'"')


@dataclass
class Plan:
    """All runs, and what they are run on.

    Attributes:
        study: The trials.
        preset: Data, configs and schedule.
        out: Folder of everything.
        data: Folder of the data; None for what the configs say.
        data_seed: Seed of the data, where they are made.
        overrides: ``key=value`` changes of all configs, beside the preset's.
        arguments: What :func:`make_plan` was asked for.
        runs: By key, each after those that it needs.
        trials: Those of the tables.
    """

    study: Study
    preset: Preset
    out: Path
    data: Path | None
    data_seed: int
    overrides: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)

    def left(self) -> list[Run]:
        """Returns the runs that are left; of starts, those that are needed for them."""
        left = [run for run in self.runs.values() if run.next_step() is not None]
        needed = {key for run in left for key in run.needs}
        return [run for run in left if 'test' in run.steps or run.key in needed]

    def makes_data(self) -> bool:
        """Checks that the data are made here, for these trials."""
        return self.preset.shapes is not None and self.data == self.out / 'data'

    def training_options(self, trial: Trial) -> list[str]:
        """Returns the ``key=value`` changes of a trial's config in training, but for places."""
        preset = self.preset
        start = trial.name in self.study.starts
        schedule = preset.start_overrides if start else preset.train_overrides
        return [*preset.overrides, *schedule, *self.overrides, *trial.overrides]

    def test_options(self, trial: Trial) -> list[str]:
        """Returns the ``key=value`` changes of a trial's config at test, but for places."""
        options = [*self.preset.overrides, *self.overrides, *self.preset.test_overrides]
        return [*options, *trial.overrides, *trial.test_overrides]

    def runs_of(self, trial: Trial) -> list[Run]:
        """Returns the runs of a trial, by rising seed."""
        return [run for run in self.runs.values() if run.trial.name == trial.name]

    def baseline_run(self) -> Run:
        """Returns the first run of the baseline."""
        return self.runs[f'{self.study.baseline}/seed-0']


def make_plan(
    study: Study,
    preset: str,
    out: str | os.PathLike,
    only: Sequence[str] | None = None,
    seeds: int = 1,
    baseline_seeds: int = 1,
    data: str | os.PathLike | None = None,
    data_seed: int = 0,
    overrides: Sequence[str] = (),
) -> Plan:
    """Lays out the runs of trials.

    Args:
        study: The trials.
        preset: Name of the preset.
        out: Folder of everything.
        only: Names of trials; None for all. The baseline and what others start from are added.
        seeds: How many runs of each trial, from seeds 0, 1, ...
        baseline_seeds: The same of the baseline, if more.
        data: Folder of the data; None for ``out/data`` where they are made, else what the configs
            say.
        data_seed: Seed of the data, where they are made.
        overrides: Further ``key=value`` changes of all configs.

    Raises:
        UserError: if there is no such trial, a config is faulty, or a path cannot stand in options
            of configs.
    """
    arguments = dict(
        only=None if only is None else list(only),
        seeds=seeds,
        baseline_seeds=baseline_seeds,
        data=None if data is None else os.fspath(data),
        data_seed=data_seed,
        overrides=list(overrides),
    )
    chosen, out = study.presets[preset], Path(out)
    if data is None and chosen.shapes is not None:
        data = out / 'data'
    for option, path in (('--out', out), ('--data', data)):
        if found := sorted(_NOT_IN_OPTIONS & set(shown(path or ''))):
            raise UserError(f'{option}: {shown(path)} has a {found[0]}, which options cannot hold.')
    data = None if data is None else Path(data)
    plan = Plan(study, chosen, out, data, data_seed, tuple(overrides), arguments)
    plan.trials = study.choose(only)
    for trial in plan.trials:
        count = max(seeds, baseline_seeds) if trial.name == study.baseline else seeds
        for seed in range(count):
            _add_run(plan, trial, seed)
    return plan


def command_of(plan: Plan) -> str:
    """Returns the command, a line of shell, that ends with the tables of a plan."""
    asked = plan.arguments
    words = ['python', 'tools/run_trials.py', '--study', shown(plan.study.path)]
    words += ['--preset', plan.preset.name]
    if plan.out != default_out(plan.study, plan.preset.name):
        words += ['--out', shown(plan.out)]
    if asked['only'] is not None:
        words += ['--only', *asked['only']]
    words += ['--seeds', asked['seeds'], '--baseline-seeds', asked['baseline_seeds']]
    if asked['data'] is not None:
        words += ['--data', asked['data']]
    elif plan.preset.shapes:
        words += ['--data-seed', asked['data_seed']]
    if asked['overrides']:
        words += ['--cfg-options', *asked['overrides']]
    return shlex.join(str(word) for word in words)


def default_out(study: Study, preset: str) -> Path:
    """Returns the folder that trials of a preset go to unless one is named."""
    return Path(study.work_dir, preset)


def _add_run(plan: Plan, trial: Trial, seed: int) -> Run:
    key = f'{trial.name}/seed-{seed}'
    if key in plan.runs:
        return plan.runs[key]
    folder = plan.out / trial.name / f'seed-{seed}'
    place = [] if plan.data is None else [f'data_root={shown(plan.data)}']
    config = shown(ROOT / plan.preset.config_of(trial))
    needs, steps, epochs = (), {}, 0
    if trial.trains:
        training = [*place, *plan.training_options(trial)]
        epochs = _epochs(config, training)
        checkpoint = folder / 'train' / f'epoch_{epochs}.pth'
        if trial.starts_from:
            # What all start from is trained once, as what is published would be.
            source = plan.study.trial(trial.starts_from)
            source = _add_run(plan, source, 0 if source.name in plan.study.starts else seed)
            needs = (source.key,)
            training.append(f'load_from={shown(source.checkpoint)}')
        steps['train'] = [
            *[shown(ROOT / 'tools/train.py'), config, '--work-dir', shown(folder / 'train')],
            *['--resume', '--seed', str(seed), '--cfg-options', *training],
        ]
    else:
        source = _add_run(plan, plan.study.trial(trial.train_as), seed)
        needs, checkpoint = (source.key,), source.checkpoint
    # What others only take weights of is not tested.
    if trial in plan.trials:
        steps['test'] = [
            *[shown(ROOT / 'tools/test_video.py'), config, shown(checkpoint)],
            *['--out', shown(folder / 'results.json'), '--cfg-options', *place],
            *[*plan.test_options(trial), f'work_dir={shown(folder)}'],
        ]
    run = Run(trial, seed, folder, needs, steps, checkpoint, epochs)
    plan.runs[key] = run
    return run


def _epochs(config: str, options: Sequence[str]) -> int:
    """Returns after how many epochs a training ends."""
    given = [one.removeprefix(_EPOCHS) for one in options if one.startswith(_EPOCHS)]
    epochs = given[-1] if given else load_config(config, options).train_cfg.get('max_epochs')
    try:
        return int(epochs)
    except (TypeError, ValueError):
        raise UserError(
            f'{_EPOCHS}{epochs} for {config}: expected a whole number of epochs.'
        ) from None
