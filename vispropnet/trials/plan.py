"""All runs of trials: their commands, files, and how far they have come."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vispropnet.config import load_config
from vispropnet.errors import UserError
from vispropnet.trials.study_file import Preset, Study, Trial

ROOT = Path(__file__).resolve().parent.parent.parent
_EPOCHS = 'train_cfg.max_epochs='
# By the main metric of a study, the tool that tests and its options; files are those of a run.
_TESTS = {
    'mAP': ('tools/test_video.py', '--out', 'results.json'),
    'JF': ('tools/test_vos.py', '--out', 'tracks.json', '--eval', '--json', 'results.json'),
}
# Signs that options of configs do not take as text.
_NOT_IN_OPTIONS = set(',()[]{}\'"')
_ITERATION = re.compile(rb'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]')
# A log's last lines say how far it is.
_TAIL_BYTES = 4096


@dataclass(frozen=True)
class Run:
    """One trial from one seed, below its folder: training, then test."""

    trial: Trial
    seed: int
    folder: Path
    needs: tuple[str, ...]  # keys of the runs whose weights it takes
    steps: dict[str, list[str]]  # arguments of the commands 'train' and 'test', in order
    checkpoint: Path  # the weights that it ends with, or takes
    epochs: int  # of its training

    @property
    def key(self) -> str:
        """The trial's name and the seed, as in the folders."""
        return f'{self.trial.name}/seed-{self.seed}'

    @property
    def results(self) -> Path:
        """The file that ends the test: its result file, or its metrics where those are scored."""
        return self.folder / 'results.json'

    @property
    def tracks(self) -> Path:
        """The result file of the tracks that the test found."""
        command = self.steps['test']
        return Path(command[command.index('--out') + 1])

    @property
    def failure(self) -> Path:
        """The file that marks a failure."""
        return self.folder / 'failure.json'

    @property
    def kept(self) -> Path:
        """Costs and weights' digests of a run that was kept: weights and logs are elsewhere."""
        return self.folder / 'kept.json'

    def log(self, step: str) -> Path:
        """Returns the file with the output of a step."""
        return self.folder / f'{step}.log'

    def config_and_options(self, step: str) -> tuple[str, list[str]]:
        """Returns the config of a step and its ``key=value`` changes."""
        command = self.steps[step]
        return command[1], command[command.index('--cfg-options') + 1 :]

    def left(self) -> list[str]:
        """Returns the names of the steps that are left, in order."""
        if self.results.exists():
            return []
        return [step for step in self.steps if step == 'test' or not self.trained()]

    def next_step(self) -> str | None:
        """Returns the step that comes next; None if all is done."""
        return next(iter(self.left()), None)

    def trained(self) -> bool:
        """Checks that training came to its end: the last checkpoint is complete."""
        # Written after the checkpoint that it names.
        pointer = self.folder / 'train' / 'last_checkpoint'
        try:
            named = Path(pointer.read_text().strip())
        except OSError:
            return False
        return named.name == self.checkpoint.name and self.checkpoint.exists()

    def done(self) -> bool:
        """Checks for results that mean something: weights that diverged have some too."""
        return self.results.exists() and not self.failure.exists()

    def share_done(self) -> float:
        """Returns how much of the run is done, in [0, 1]; test counts as a tenth."""
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
    """All runs, and what they are run on."""

    study: Study
    preset: Preset
    out: Path  # folder of everything
    data: Path | None  # folder of the data; None for what the configs say
    arguments: dict[str, Any]  # of :func:`make_plan`, by name
    runs: dict[str, Run] = field(default_factory=dict)  # by key, each after those that it needs
    trials: list[Trial] = field(default_factory=list)  # those of the tables

    def left(self) -> list[Run]:
        """Returns the runs that are left; of starts, those that are needed for them."""
        left, needed = [], set()
        # Each comes after those that it needs, of which some need others in turn.
        for run in reversed(self.runs.values()):
            if run.next_step() is not None and ('test' in run.steps or run.key in needed):
                left.insert(0, run)
                needed.update(run.needs)
        return left

    def tested(self) -> list[Run]:
        """Returns the runs that are tested: all but those that others only take weights of."""
        return [run for run in self.runs.values() if 'test' in run.steps]

    def shapes_options(self) -> list[str]:
        """Returns the options of ``tools/make_moving_shapes.py``; none if data are given."""
        if self.preset.shapes is None or self.data != self.out / 'data':
            return []
        return self.preset.shapes.options(self.arguments['data_seed'])

    def training_options(self, trial: Trial) -> list[str]:
        """Returns the ``key=value`` changes of a trial's config in training, but for places."""
        preset, overrides = self.preset, self.arguments['overrides']
        start = trial.name in self.study.starts
        schedule = preset.start_overrides if start else preset.train_overrides
        return [*preset.overrides, *schedule, *overrides, *trial.overrides]

    def test_options(self, trial: Trial) -> list[str]:
        """Returns the ``key=value`` changes of a trial's config at test, but for places."""
        preset, overrides = self.preset, self.arguments['overrides']
        options = [*preset.overrides, *overrides, *preset.test_overrides]
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
    """Lays out the runs of the trials of a study.

    Args:
        study: The study.
        preset: Name of the preset.
        out: Folder of everything.
        only: Names of trials; None for all. The baseline and what others start from are added.
        seeds: Number of runs of each trial, from seeds 0, 1, ...
        baseline_seeds: The same of the baseline, if more.
        data: Folder of the data; None for ``out/data`` where they are made, else the configs' own.
        data_seed: Seed of the data, where they are made.
        overrides: Further ``key=value`` changes of all configs.

    Raises:
        UserError: for an unknown trial, a faulty config, or a path that options cannot hold.
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
    plan = Plan(study, chosen, out, data, arguments, trials=study.choose(only))
    for trial in plan.trials:
        count = max(seeds, baseline_seeds) if trial.name == study.baseline else seeds
        for seed in range(count):
            _add_run(plan, trial, seed)
    return plan


def command_of(plan: Plan, kept: str | os.PathLike | None = None) -> str:
    """Returns the command, a line of shell, that ends with the tables of a plan.

    Args:
        plan: The plan.
        kept: Folder of kept runs, if there is one.
    """
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
    if kept is not None:
        words += ['--kept', shown(kept)]
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
        tool, *outputs = _TESTS[plan.study.metric]
        outputs = [one if one[0] == '-' else shown(folder / one) for one in outputs]
        steps['test'] = [
            *[shown(ROOT / tool), config, shown(checkpoint), *outputs],
            *['--cfg-options', *place, *plan.test_options(trial), f'work_dir={shown(folder)}'],
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


def shown(path: str | os.PathLike) -> str:
    """Returns a path as a command should have it: relative if it is below the current folder."""
    path, here = Path(path).absolute(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def tail_lines(path: str | os.PathLike, count: int) -> list[str]:
    """Returns the last lines, so many at most, of a log that are not empty; none without a log."""
    text = _tail(path).decode(errors='replace')
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def _tail(path: str | os.PathLike) -> bytes:
    try:
        with open(path, 'rb') as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return stream.read()
    except OSError:
        return b''
