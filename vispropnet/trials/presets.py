"""What the trials are run on: data, configs and schedule."""

from __future__ import annotations

from dataclasses import dataclass

from vispropnet.trials.catalogue import DEEPER_START, Trial


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
        epochs: Of each training.
        shapes: Videos to make; None where the data have to be there.
        overrides: ``key=value`` changes of all configs.
        test_overrides: Further ones at test.
        trained_start: Whether ObjProp starts from MaskTrack R-CNN, trained here on the same videos.
        split: Annotation file below the data's folder of which a local split has to be made.
        published: Whether published figures are shown beside ours.
        runs_per_gpu: How many runs share a GPU unless ``--jobs`` says otherwise.
    """

    name: str
    about: str
    config: str
    backbones: tuple[str, str]
    epochs: int
    shapes: Shapes | None = None
    overrides: tuple[str, ...] = ()
    test_overrides: tuple[str, ...] = ()
    trained_start: bool = False
    split: str = ''
    published: bool = False
    runs_per_gpu: int = 1

    def config_of(self, trial: Trial) -> str:
        """Gives the config of a trial, as a path in the checkout."""
        stem = {'objprop': 'objprop', 'masktrack_rcnn': 'masktrack-rcnn'}[trial.method]
        backbone = self.backbones[trial.deeper]
        return f'configs/{trial.method}/{stem}_{backbone}_fpn_{self.config}{trial.suffix}.py'

    def start_of(self, trial: Trial) -> str:
        """Gives the name of the trial whose weights a trial starts from; '' for none."""
        if trial.starts_from or not self.trained_start or trial.method != 'objprop':
            return trial.starts_from
        return DEEPER_START.name if trial.deeper else 'masktrack-rcnn'


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
            2,
            Shapes('occlusion', 8, 4, 4, (96, 64)),
            ('param_scheduler.0.end=8', 'default_hooks.logger.interval=2'),
            ('model.detector.test_cfg.rcnn.score_thr=0.0',),
        ),
        Preset(
            'cpu',
            'moving shapes with occlusion on two cores, one seed of all trials in 2.5 hours',
            '2e_moving-shapes',
            ('r18', 'r34'),
            2,
            Shapes('occlusion', 180, 60, 16),
        ),
        Preset(
            'gpu',
            'more moving shapes with occlusion, three trials at a time on a GPU',
            '2e_moving-shapes',
            ('r18', 'r34'),
            2,
            Shapes('occlusion', 360, 120, 16),
            ('train_dataloader.num_workers=3', 'test_dataloader.num_workers=2'),
            runs_per_gpu=3,
        ),
        Preset(
            'ytvis19',
            'YouTube-VIS 2019, the published schedule, one GPU a trial',
            '1x_ytvis2019',
            ('r50', 'r101'),
            12,
            overrides=_LOCAL,
            trained_start=True,
            split='train.json',
            published=True,
        ),
        Preset(
            'ytvis21',
            'YouTube-VIS 2021, the published schedule, one GPU a trial',
            '1x_ytvis2021',
            ('r50', 'r101'),
            12,
            overrides=_LOCAL,
            trained_start=True,
            split='train/instances.json',
            published=True,
        ),
    )
}
