"""A study: a baseline, trials that differ from it, presets of data and schedule; and its file.

Study files are Python files that set the attributes of a :class:`Study`, which docs/trials.md
describes: trials, presets, shapes and starts are dicts of theirs, by name. Names that begin with an
underscore are the file's own.
"""

from __future__ import annotations

import os
import re
import runpy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from vispropnet.errors import UserError

# By the main metric of a study all that its tables have; the main one comes last.
METRICS = {
    'mAP': ('AP50', 'AP75', 'AR1', 'AR10', 'mAP'),
    'JF': ('J_mean', 'J_decay', 'F_mean', 'F_decay', 'JF'),
}
# Names are those of folders too.
_NAME = re.compile('[A-Za-z0-9][A-Za-z0-9_.-]*')


@dataclass(frozen=True)
class Trial:
    """One change to the baseline.

    Its training starts from the weights of the trial or start ``starts_from``; '' stands for what
    the config says, None for the study's ``starts_from``.
    """

    name: str
    title: str = ''
    change: str = ''
    config: str = ''
    overrides: tuple[str, ...] = ()
    test_overrides: tuple[str, ...] = ()
    train_as: str = ''
    starts_from: str | None = None
    published: Mapping[str, float] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """True for a trial with a training of its own."""
        return not self.train_as


@dataclass(frozen=True)
class Shapes:
    """Videos of moving shapes to make: options of ``tools/make_moving_shapes.py``."""

    preset: str
    videos: int
    val_videos: int
    frames: int
    size: tuple[int, int] = (160, 96)

    def options(self, seed: int) -> list[str]:
        """Returns the options as they stand in a command line."""
        options = ['--preset', self.preset, '--videos', self.videos]
        options += ['--val-videos', self.val_videos, '--frames', self.frames]
        return [str(option) for option in (*options, '--size', *self.size, '--seed', seed)]


@dataclass(frozen=True)
class Preset:
    """Data, configs and schedule of all trials.

    Without ``shapes`` the data have to be there, in tables under ``data_name`` or else their
    folder's; ``split`` is the annotation file below it of which a local split has to be made.
    """

    name: str
    about: str
    placeholders: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    train_overrides: tuple[str, ...] = ()
    start_overrides: tuple[str, ...] = ()
    test_overrides: tuple[str, ...] = ()
    shapes: Shapes | None = None
    data_name: str = ''
    split: str = ''
    published: str = ''
    runs_per_gpu: int = 1

    def config_of(self, trial: Trial) -> str:
        """Returns the config of a trial, as a path from the root of the checkout."""
        return trial.config.format(**self.placeholders)


@dataclass(frozen=True)
class Study:
    """A baseline, trials in the order of the tables, and presets.

    What a trial does not say (config, ``starts_from``) is filled in. ``metric`` is the main one, a
    key of :data:`METRICS`: it says how trials are tested and scored.
    """

    path: Path
    baseline: str
    trials: Mapping[str, Trial]
    presets: Mapping[str, Preset]
    starts: Mapping[str, Trial] = field(default_factory=dict)
    starts_from: str = ''
    title: str = 'Trials'
    about: str = 'The same model was run with one change at a time'
    work_dir: str = ''
    metric: str = 'mAP'

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics of its tables, the main one last."""
        return METRICS[self.metric]

    @property
    def name(self) -> str:
        """Name of its file without the suffix."""
        return self.path.stem

    def trial(self, name: str) -> Trial:
        """Returns a trial or a start."""
        return self.trials[name] if name in self.trials else self.starts[name]

    def trained(self, trial: Trial) -> Trial:
        """Returns the trial whose training gives the weights of a trial."""
        return self.trial(trial.train_as or trial.name)

    def choose(self, names: Sequence[str] | None) -> list[Trial]:
        """Chooses trials by name, all for None or ``['all']``, in the order of the tables.

        The baseline, which they are compared with, joins them.

        Raises:
            UserError: if there is no such trial.
        """
        names = self.trials if names is None or list(names) == ['all'] else names
        for name in names:
            if name not in self.trials:
                known = ', '.join(self.trials)
                raise UserError(f'--only: no trial {name!r}; there are: {known}; or all.')
        return [one for name, one in self.trials.items() if name in {*names, self.baseline}]


def read_study(path: str | os.PathLike) -> Study:
    """Reads a study file.

    Args:
        path: The file; docs/trials.md has an example.

    Raises:
        UserError: naming the file, the key, what was found and what was expected.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'study not found: {path}')
    try:
        content = runpy.run_path(str(path))
    except Exception as error:  # whatever the file's own code raises
        raise UserError(f'study {path} cannot be read: {type(error).__name__}: {error}') from error
    content = {key: value for key, value in content.items() if not key.startswith('_')}
    try:
        return _resolve(_build(Study, content, path=path))
    except UserError as error:
        raise UserError(f'study {path}: {error}') from None


def _expect(met: Any, where: str, words: str, found: Any) -> None:
    if not met:
        raise UserError(f'{where}: expected {words}, found {found!r}.')


# By the annotation of a field, the values it takes.
_WORDS = {
    'str': 'a text',
    'str | None': 'a text',
    'int': 'a whole number of 1 or more',
    'tuple[int, int]': 'two whole numbers of 1 or more',
    'tuple[str, ...]': "a list of texts 'key=value'",
    'Mapping[str, str]': 'a dict of texts',
    'Mapping[str, float]': 'a dict of numbers by metric',
}


def _fits(kind: str, value: Any) -> bool:
    if kind.startswith('str'):
        return isinstance(value, str)
    if kind == 'int':
        return type(value) is int and value > 0
    if kind.startswith('Mapping'):
        types = (int, float) if kind == 'Mapping[str, float]' else (str,)
        return isinstance(value, dict) and all(type(one) in types for one in value.values())
    if not isinstance(value, (list, tuple)):
        return False
    if kind == 'tuple[int, int]':
        return len(value) == 2 and all(_fits('int', one) for one in value)
    return all(isinstance(one, str) and '=' in one for one in value)


_BY_NAME = {'Mapping[str, Trial]': Trial, 'Mapping[str, Preset]': Preset}


def _build(kind: type, content: Any, where: str = '', **given: Any) -> Any:
    """Makes one of the dataclasses of what a file says."""
    _expect(isinstance(content, dict), where, 'a dict', content)
    known = {one.name: one for one in fields(kind) if one.name not in given}
    where = f'{where}.' if where else ''
    for key in content:
        if key not in known:
            raise UserError(f'{where}{key}: unknown key, expected one of {", ".join(known)}.')
    for key, one in known.items():
        if key not in content and one.default is MISSING and one.default_factory is MISSING:
            raise UserError(f'{where}{key}: expected, but missing.')
    values = {key: _value(known[key].type, one, where + key) for key, one in content.items()}
    return kind(**given, **values)


def _value(annotation: str, value: Any, where: str) -> Any:
    if annotation == 'Shapes | None':
        return _build(Shapes, value, where)
    if annotation not in _BY_NAME:
        _expect(_fits(annotation, value), where, _WORDS[annotation], value)
        return tuple(value) if isinstance(value, list) else value
    _expect(isinstance(value, dict) and value, where, 'a dict by name, not empty', value)
    for name in value:
        fits = isinstance(name, str) and _NAME.fullmatch(name)
        _expect(fits, where, 'names of letters, digits, dots, dashes and underscores', name)
    kind = _BY_NAME[annotation]
    return {name: _build(kind, one, f'{where}.{name}', name=name) for name, one in value.items()}


def _resolve(study: Study) -> Study:
    """Fills in what trials take from others, and checks what they name."""
    trials, starts = study.trials, study.starts
    _expect_one_of(METRICS, 'metric', study.metric)
    words = f'a dict of numbers by metric ({", ".join(study.metrics)})'
    for name, one in trials.items():
        known = one.published.keys() <= set(study.metrics)
        _expect(known, f'trials.{name}.published', words, dict(one.published))
    for name in starts:
        _expect(name not in trials, f'starts.{name}', 'a name that no trial has', name)
    _expect_one_of(trials, 'baseline', study.baseline)
    trained = [one.name for one in trials.values() if one.trains]
    for name, one in trials.items():
        if one.train_as:
            _expect_one_of(trained, f'trials.{name}.train_as', one.train_as)
    starts = {name: replace(one, starts_from=one.starts_from or '') for name, one in starts.items()}
    trials = {name: _resolve_trial(study, one) for name, one in trials.items()}
    for group, some in (('starts', starts), ('trials', trials)):
        for name, trial in some.items():
            where = f'{group}.{name}'
            _expect_one_of(['', *starts, *trained], f'{where}.starts_from', trial.starts_from)
            for preset in study.presets.values():
                _check_placeholders(preset, trial, f'{where}.config')
    try:
        before = {one.name: [one.starts_from] for one in (*starts.values(), *trials.values())}
        TopologicalSorter(before).prepare()
    except CycleError as error:
        raise UserError(f'starts_from: trials in a circle: {", ".join(error.args[1])}.') from None
    work_dir = study.work_dir or f'work_dirs/studies/{study.name}'
    return replace(study, trials=trials, starts=starts, work_dir=work_dir)


def _resolve_trial(study: Study, trial: Trial) -> Trial:
    starts_from = study.starts_from if trial.starts_from is None else trial.starts_from
    starts_from = starts_from if trial.trains else ''
    trial = replace(trial, title=trial.title or trial.name, starts_from=starts_from)
    source = trial.train_as or study.baseline
    if trial.config or source == trial.name:
        return trial
    source = _resolve_trial(study, study.trials[source])
    return replace(
        trial,
        config=source.config,
        overrides=source.overrides + trial.overrides,
        test_overrides=source.test_overrides + trial.test_overrides,
    )


def _expect_one_of(known: Collection[str], where: str, name: str) -> None:
    words = f'one of {", ".join(filter(None, known))}' if any(known) else 'nothing'
    _expect(name in known, where, words, name)


def _check_placeholders(preset: Preset, trial: Trial, where: str) -> None:
    _expect(trial.config, where, 'the path of a config', trial.config)
    try:
        preset.config_of(trial)
    except (KeyError, IndexError) as error:
        place = f'presets.{preset.name}.placeholders'
        raise UserError(f'{place}: expected {error}, which {where} has, found none.') from None
    except ValueError as error:
        raise UserError(f'{where}: {error} in {trial.config!r}.') from None
