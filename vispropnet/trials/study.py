"""A study: a baseline, trials that differ from it, and presets of data and schedule."""

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

    Attributes:
        name: In command lines and folders.
        title: In tables; its name unless given.
        change: In a few words.
        config: Path from the root of the checkout, with ``{placeholders}``. Without one, that of
            the trial it is trained as, else of the baseline; the overrides of that one then come
            before its own.
        overrides: ``key=value`` changes of the config, in training and at test.
        test_overrides: Further ones at test.
        train_as: A trial whose weights it tests, instead of training; '' for none.
        starts_from: A trial or start whose weights its training starts from; '' for what the
            config says, None for the study's ``starts_from``.
        published: Metrics by name as they were published.
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
    """Videos of moving shapes to make, as ``tools/make_moving_shapes.py`` takes them.

    Attributes:
        preset: Kind of videos.
        videos: Number of videos to train on.
        val_videos: Number of videos to test on.
        frames: Number of frames in a video.
        size: Width and height in pixels.
    """

    preset: str
    videos: int
    val_videos: int
    frames: int
    size: tuple[int, int] = (160, 96)

    def options(self, seed: int) -> list[str]:
        """Returns the options of ``tools/make_moving_shapes.py``."""
        options = ['--preset', self.preset, '--videos', self.videos]
        options += ['--val-videos', self.val_videos, '--frames', self.frames]
        return [str(option) for option in (*options, '--size', *self.size, '--seed', seed)]


@dataclass(frozen=True)
class Preset:
    """Data, configs and schedule of all trials.

    Attributes:
        name: In command lines and folders.
        about: One line for ``--help``.
        placeholders: Texts that stand in for ``{name}`` in the configs of the trials.
        overrides: ``key=value`` changes of all configs.
        train_overrides: Further ones when trials are trained.
        start_overrides: Further ones when starts are trained.
        test_overrides: Further ones at test.
        shapes: Videos to make; None where the data have to be there.
        data_name: What tables call data that are not made here; their folder unless given.
        split: Annotation file below the data's folder of which a local split has to be made.
        published: Remark on the published metrics, which are shown beside ours where it is given.
        runs_per_gpu: Runs that share a GPU unless ``--jobs`` says otherwise.
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
    """A baseline, trials and presets.

    Attributes:
        path: Of its file.
        baseline: Name of the trial that the others are compared with.
        trials: By name, in the order of the tables; configs and starts are filled in.
        presets: By name.
        starts: Trainings that trials start from and that are in no table, by name.
        starts_from: What trials start from that name nothing else; '' for what their configs say.
        title: Of the report.
        about: First sentence of the report.
        work_dir: Folder of the folders of presets.
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
        """Chooses trials, and with them the baseline, which they are compared with.

        Args:
            names: Their names; None, or ``['all']``, for all.

        Returns:
            The trials, in the order of the tables.

        Raises:
            UserError: if there is no such trial.
        """
        known = list(self.trials)
        names = known if names is None or list(names) == ['all'] else names
        for name in names:
            if name not in known:
                raise UserError(
                    f'--only: no trial {name!r}; there are: {", ".join(known)}; or all.'
                )
        return [self.trials[name] for name in known if name in {*names, self.baseline}]
