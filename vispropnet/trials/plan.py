"""The runs of trials: which there are, their commands, and how far each has come."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vispropnet.errors import UserError
from vispropnet.trials.catalogue import BASELINE, STARTS, Trial, choose_trials, trial_named
from vispropnet.trials.presets import Preset

ROOT = Path(__file__).resolve().parent.parent.parent
_ITERATION = re.compile(rb'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]')
# A log's last lines say how far it is.
_TAIL_BYTES = 4096
_EPOCHS = 'train_cfg.max_epochs='
# What options of configs take for something else than a text.
_NOT_IN_OPTIONS = set(',()[]{}\'"')


@dataclass(frozen=True)
class Run:
    """One trial from one seed: training, then test.

    Attributes:
        trial: What is trained.
        seed: Of training.
        folder: Where everything of it goes.
        needs: Keys of the runs whose weights it takes.
        steps: Arguments of the commands, by name (``train``, ``test``), in order.
        checkpoint: The weights that it ends with, or takes.
        epochs: Of its training.
    """

    trial: Trial
    seed: int
    folder: Path
    needs: tuple[str, ...]
    steps: dict[str, list[str]]
    checkpoint: Path
    epochs: int

    @property
    def key(self) -> str:
        """The trial's name and the seed, as in the folders."""
        return f'{self.trial.name}/seed-{self.seed}'

    @property
    def results(self) -> Path:
        """The result file."""
        return self.folder / 'results.json'

    @property
    def failure(self) -> Path:
        """What is left of a failure."""
        return self.folder / 'failure.json'

    def log(self, step: str) -> Path:
        """The output of a step."""
        return self.folder / f'{step}.log'

    def next_step(self) -> str | None:
        """The step that comes next; None if all is done."""
        if self.results.exists():
            return None
        if 'train' in self.steps and not self.trained():
            return 'train'
        return 'test' if 'test' in self.steps else None

    def trained(self) -> bool:
        """Whether training came to its end: the last checkpoint is complete."""
        # Written after the checkpoint that it names.
        pointer = self.folder / 'train' / 'last_checkpoint'
        try:
            named = pointer.read_text().strip()
        except OSError:
            return False
        return Path(named).name == self.checkpoint.name and self.checkpoint.exists()

    def done(self) -> bool:
        """Whether there are results that mean something: weights that diverged have some too."""
        return self.results.exists() and not self.failure.exists()

    def share_done(self) -> float:
        """How much of the run is done, in [0, 1]; test counts as a tenth."""
        step = self.next_step()
        if step is None:
            return 1.0
        if step == 'test':
            return 0.9 if 'train' in self.steps else 0.0
        found = _ITERATION.findall(_tail(self.log('train')))
        if not found:
            return 0.0
        epoch, iteration, iterations = map(int, found[-1])
        return 0.9 * min(1.0, (epoch - 1 + iteration / iterations) / self.epochs)


@dataclass
class Plan:
    """All runs, and what they are run on.

    Attributes:
        preset: Data, configs and schedule.
        out: Folder of everything.
        data: Folder of the data.
        data_seed: Seed of the data, where they are made.
        overrides: ``key=value`` changes of all configs, beside the preset's.
        arguments: What was asked for, as :func:`make_plan` was told.
        runs: By key, each after those that it needs.
        trials: Those of the tables.
    """

    preset: Preset
    out: Path
    data: Path | None
    data_seed: int
    overrides: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)

    def left(self) -> list[Run]:
        """What is left to run; of what others only start from, that which is needed for it."""
        left = [run for run in self.runs.values() if run.next_step() is not None]
        needed = {key for run in left for key in run.needs}
        return [run for run in left if 'test' in run.steps or run.key in needed]

    def makes_data(self) -> bool:
        """Whether the data are made here, for these trials."""
        return self.preset.shapes is not None and self.data == self.out / 'data'

    def training_options(self, trial: Trial) -> list[str]:
        """The ``key=value`` changes of a trial's config in training, but for places."""
        return [*self.preset.training_overrides(trial), *self.overrides]

    def test_options(self, trial: Trial) -> list[str]:
        """The ``key=value`` changes of a trial's config at test, but for places."""
        options = [*self.preset.overrides, *self.overrides]
        return [*options, *self.preset.test_overrides, *trial.test_overrides]

    def runs_of(self, trial: Trial) -> list[Run]:
        """The runs of a trial, by rising seed."""
        return [run for run in self.runs.values() if run.trial.name == trial.name]


def make_plan(
    preset: Preset,
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
        preset: Data, configs and schedule.
        out: Folder of everything.
        only: Names of trials; None for all. The baseline and what others start from are added.
        seeds: How many runs of each trial, from seeds 0, 1, ...
        baseline_seeds: The same of the baseline, if more.
        data: Folder of the data; None for ``out/data`` where they are made, else what the configs
            say.
        data_seed: Seed of the data, where they are made.
        overrides: Further ``key=value`` changes of all configs.

    Returns:
        The plan.

    Raises:
        UserError: if there is no such trial, or a path cannot stand in options of configs.
    """
    arguments = dict(
        only=None if only is None else list(only),
        seeds=seeds,
        baseline_seeds=baseline_seeds,
        data=None if data is None else os.fspath(data),
        data_seed=data_seed,
        overrides=list(overrides),
    )
    out = Path(out)
    if data is None and preset.shapes is not None:
        data = out / 'data'
    for option, path in (('--out', out), ('--data', data)):
        if found := sorted(_NOT_IN_OPTIONS & set(shown(path or ''))):
            raise UserError(f'{option}: {shown(path)} has a {found[0]}, which options cannot hold.')
    plan = Plan(
        preset,
        out,
        None if data is None else Path(data),
        data_seed,
        tuple(overrides),
        arguments,
    )
    plan.trials = choose_trials(only)
    for trial in plan.trials:
        count = max(seeds, baseline_seeds) if trial.name == BASELINE else seeds
        for seed in range(count):
            _add_run(plan, trial, seed)
    return plan


def command_of(plan: Plan) -> str:
    """Gives the command that ends with the tables of a plan.

    Args:
        plan: The plan.

    Returns:
        A line of shell.
    """
    asked = plan.arguments
    words = ['python', 'tools/run_trials.py', '--preset', plan.preset.name]
    if plan.out != default_out(plan.preset):
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


def default_out(preset: Preset) -> Path:
    """Gives the folder that trials of a preset go to unless one is named."""
    return Path('work_dirs/trials', preset.name)


def shown(path: str | os.PathLike) -> str:
    """Gives a path as a command should have it: relative if it is below the current folder."""
    path, here = Path(path).absolute(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def tail_lines(path: str | os.PathLike, count: int) -> list[str]:
    """Gives the last lines of a log that say something.

    Args:
        path: The log.
        count: How many at most.

    Returns:
        The lines; none if there is no log.
    """
    text = _tail(path).decode(errors='replace')
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def _epochs(plan: Plan, trial: Trial) -> int:
    """After how many epochs a training ends: what its config is told last."""
    epochs = plan.preset.start_epochs if trial in STARTS else plan.preset.epochs
    for option in plan.overrides:
        if option.startswith(_EPOCHS):
            try:
                epochs = int(option.removeprefix(_EPOCHS))
            except ValueError:
                raise UserError(f'--cfg-options {option}: expected a whole number.') from None
    return epochs


def _add_run(plan: Plan, trial: Trial, seed: int) -> Run:
    key = f'{trial.name}/seed-{seed}'
    if key in plan.runs:
        return plan.runs[key]
    preset = plan.preset
    folder = plan.out / trial.name / f'seed-{seed}'
    place = [] if plan.data is None else [f'data_root={shown(plan.data)}']
    config = shown(ROOT / preset.config_of(trial))
    epochs = _epochs(plan, trial)
    checkpoint = folder / 'train' / f'epoch_{epochs}.pth'
    needs, steps = [], {}
    if trial.weights_of:
        source = _add_run(plan, trial_named(trial.weights_of), seed)
        needs, checkpoint = [source.key], source.checkpoint
    else:
        start = preset.start_of(trial)
        training = [*place, *plan.training_options(trial)]
        if start:
            # What all start from is trained once, as what is published would be.
            source = _add_run(plan, trial_named(start), seed if trial.starts_from else 0)
            needs = [source.key]
            training.append(f'load_from={shown(source.checkpoint)}')
        steps['train'] = [
            *[shown(ROOT / 'tools/train.py'), config, '--work-dir', shown(folder / 'train')],
            *['--resume', '--seed', str(seed), '--cfg-options', *training],
        ]
    steps['test'] = [
        *[shown(ROOT / 'tools/test_video.py'), config, shown(checkpoint)],
        *['--out', shown(folder / 'results.json'), '--cfg-options', *place],
        *[*plan.test_options(trial), f'work_dir={shown(folder)}'],
    ]
    if trial in STARTS:
        del steps['test']
    run = Run(trial, seed, folder, tuple(needs), steps, checkpoint, epochs)
    plan.runs[key] = run
    return run


def _tail(path: str | os.PathLike) -> bytes:
    try:
        with open(path, 'rb') as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return stream.read()
    except OSError:
        return b''


def read_last_record(paths: Sequence[Path]) -> dict | None:
    """Reads the last sound line of the newest of some JSON logs.

    Args:
        paths: The logs.

    Returns:
        The record; None if there is none.
    """
    for path in sorted(paths, reverse=True):
        for line in reversed(path.read_text(errors='replace').splitlines()):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                return record
    return None
