"""A study: a baseline, trials that differ from it, and presets of data and schedule.

Attributes are those of study files, which docs/trials.md describes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vispropnet.errors import UserError

METRICS = ('AP50', 'AP75', 'AR1', 'AR10', 'mAP')
MAIN_METRIC = 'mAP'


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

    What a trial does not say (config, ``starts_from``) is filled in.
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
