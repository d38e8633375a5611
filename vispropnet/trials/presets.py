"""What the trials are run on: data, configs and schedule."""

from __future__ import annotations

from dataclasses import dataclass

from vispropnet.trials.catalogue import (
    DEEPER_START,
    KEEP_EVERY_DETECTION,
    START,
    STARTS,
    Trial,
)


@dataclass(frozen=True)
class Shapes:
    """Videos of moving shapes to make.

    Attributes:
        kind: Preset of ``tools/make_moving_shapes.py``.
        videos: To train on.
        val_videos: To test on.
        frames: In a video.
        size: Width and height in pixels.
    """

    kind: str
    videos: int
    val_videos: int
    frames: int
    size: tuple[int, int] = (160, 96)

    def options(self, seed: int) -> list[str]:
        """The options of ``tools/make_moving_shapes.py``."""
        options = ['--preset', self.kind, '--videos', self.videos, '--val-videos', self.val_videos]
        options += ['--frames', self.frames, '--size', *self.size, '--seed', seed]
        return [str(option) for option in options]


@dataclass(frozen=True)
class Preset:
    """Data, configs and schedule of all trials.

    Attributes:
        name: Of the preset.
        about: One line for ``--help``.
        config: End of the configs' names, after the backbone.
        backbones: The one of the baseline and the deeper one.
        epochs: Of the training of each trial.
        start_epochs: Of the MaskTrack R-CNN that all trials start from, trained here once, on the
            same videos; 0 where trials start as their configs say.
        shapes: Videos to make; None where the data have to be there.
        overrides: ``key=value`` changes of all configs.
        trial_overrides: Further ones when trials are trained.
        start_overrides: Further ones when what they start from is trained.
        test_overrides: Further ones at test.
        split: Annotation file below the data's folder of which a local split has to be made.
        published: Whether published figures are shown beside ours.
        runs_per_gpu: How many runs share a GPU unless ``--jobs`` says otherwise.
    """

    name: str
    about: str
    config: str
    backbones: tuple[str, str]
    epochs: int
    start_epochs: int = 0
    shapes: Shapes | None = None
    overrides: tuple[str, ...] = ()
    trial_overrides: tuple[str, ...] = ()
    start_overrides: tuple[str, ...] = ()
    test_overrides: tuple[str, ...] = ()
    split: str = ''
    published: bool = False
    runs_per_gpu: int = 1

    def config_of(self, trial: Trial) -> str:
        """Gives the config of a trial, as a path in the checkout."""
        backbone = self.backbones[trial.deeper]
        name = f'{trial.stem}_{backbone}_fpn_{self.config}{trial.suffix}'
        return f'configs/{trial.method}/{name}.py'

    def start_of(self, trial: Trial) -> str:
        """Gives the name of the trial whose weights a trial starts from; '' for none."""
        if trial.starts_from or not self.start_epochs or trial in STARTS:
            return trial.starts_from
        return DEEPER_START.name if trial.deeper else START.name

    def training_overrides(self, trial: Trial) -> tuple[str, ...]:
        """Gives the ``key=value`` changes of a trial's config when it is trained."""
        more = self.start_overrides if trial in STARTS else self.trial_overrides
        return (*self.overrides, *more)


def _schedule(epochs: int, warm_up: int, *more: str) -> tuple[str, ...]:
    """Changes of the moving-shapes configs: their schedule, and no validation but the test."""
    return (
        f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_begin={epochs + 1}',
        f'param_scheduler.0.end={warm_up}',
        f'param_scheduler.1.end={epochs}',
        *more,
    )


# Published figures are of the official validation videos, whose truth is hidden: scores here are of
# videos that tools/split_ytvis.py takes out of the training set.
_LOCAL = (
    'train_dataloader.batch_size=16',
    'train_dataloader.dataset.ann_file=local/train.json',
    'test_dataloader.dataset.ann_file=local/valid.json',
    'test_dataloader.dataset.data_prefix.img=train/JPEGImages',
)

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            'smoke',
            'seconds a trial: shows that everything runs, the figures mean nothing',
            '2e_moving-shapes',
            ('r18', 'r34'),
            epochs=2,
            start_epochs=1,
            shapes=Shapes('occlusion', 8, 4, 4, (96, 64)),
            overrides=('default_hooks.logger.interval=2',),
            trial_overrides=_schedule(2, 8),
            start_overrides=_schedule(1, 4),
            test_overrides=(KEEP_EVERY_DETECTION,),
        ),
        Preset(
            'cpu',
            'moving shapes with occlusion on two cores, one seed of all trials in 2.5 hours',
            '2e_moving-shapes',
            ('r18', 'r34'),
            epochs=1,
            start_epochs=4,
            shapes=Shapes('occlusion', 240, 60, 16),
            trial_overrides=_schedule(1, 100, 'optim_wrapper.optimizer.lr=0.0007'),
            start_overrides=_schedule(4, 200),
        ),
        Preset(
            'gpu',
            'more moving shapes with occlusion, three trials at a time on a GPU',
            '2e_moving-shapes',
            ('r18', 'r34'),
            epochs=1,
            start_epochs=4,
            shapes=Shapes('occlusion', 480, 120, 16),
            overrides=('train_dataloader.num_workers=3', 'test_dataloader.num_workers=2'),
            trial_overrides=_schedule(1, 100, 'optim_wrapper.optimizer.lr=0.0007'),
            start_overrides=_schedule(4, 200),
            runs_per_gpu=3,
        ),
        Preset(
            'ytvis19',
            'YouTube-VIS 2019, the published schedule, one GPU a trial',
            '1x_ytvis2019',
            ('r50', 'r101'),
            epochs=12,
            start_epochs=12,
            overrides=_LOCAL,
            split='train.json',
            published=True,
        ),
        Preset(
            'ytvis21',
            'YouTube-VIS 2021, the published schedule, one GPU a trial',
            '1x_ytvis2021',
            ('r50', 'r101'),
            epochs=12,
            start_epochs=12,
            overrides=_LOCAL,
            split='train/instances.json',
            published=True,
        ),
    )
}
