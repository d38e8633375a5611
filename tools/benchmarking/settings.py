"""Options of the benchmarks: each is declared once, as a field that is also an argument.

Without heavy imports, so that ``--help`` is quick; checks import what they need.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from vispropnet.errors import UserError

_CONFIGS = Path(os.path.relpath(Path(__file__).resolve().parents[2] / 'configs'))
_OURS = str(_CONFIGS / 'masktrack_rcnn' / 'masktrack-rcnn_{}.py')
_MMDET = str(_CONFIGS / 'mmdet_masktrack_rcnn' / 'mmdet-masktrack-rcnn_{}.py')
_LARGE, _SMALL = 'r50_fpn_1x_ytvis2019', 'r18_fpn_2e_moving-shapes'


def option(default: Any, text: str, flag: str = '', /, **more: Any) -> Any:
    """Makes a field that is an option of the command line.

    Args:
        default: Its value, which gives the type: a tuple takes several values, a bool is a switch.
        text: Help; the default is added.
        flag: Name of the option if it is not that of the field.
        more: Further arguments of ``add_argument``.
    """
    return field(default=default, metadata={'flag': flag, 'help': text, **more})


def _size(width: int, height: int, text: str = 'of the frames in pixels') -> Any:
    return option((width, height), text, metavar=('WIDTH', 'HEIGHT'))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options that most benchmarks take; a field without help is no option of the command line.

    The docstrings of those below are the help of their commands.

    Attributes:
        smallest: Smallest width and height of a frame in pixels.
        step: What width and height are multiples of.
        may_be_zero: Numbers that need not be positive.

    Raises:
        UserError: for values that cannot be run.
    """

    smallest: ClassVar[int] = 32
    step: ClassVar[int] = 1
    may_be_zero: ClassVar[tuple[str, ...]] = ('seed',)

    repeats: int = option(3, 'timed runs of each')
    memory: bool = option(
        True,
        'do not measure memory, which on a CPU takes a further run of each',
        '--no-memory',
        action='store_false',
    )
    size: tuple[int, int] = _size(640, 360)
    device: str = option('cpu', 'cpu or cuda (cuda where there is one)', default=None)
    seed: int = option(0, 'of weights and inputs')

    def __post_init__(self) -> None:
        """Checks the values."""
        for one in fields(self):
            value = getattr(self, one.name)
            if type(value) is int and one.name not in self.may_be_zero and value <= 0:
                raise UserError(f'--{one.name.replace("_", "-")} must be positive, got {value}.')
        for name in self.may_be_zero:
            if getattr(self, name) < 0:
                raise UserError(f'--{name} must be 0 or more, got {getattr(self, name)}.')
        if min(self.size) < self.smallest or any(side % self.step for side in self.size):
            wanted = f'of {self.smallest} or more'
            if self.step > 1:
                wanted = f'that are positive multiples of {self.step}'
            raise UserError(
                f'--size takes a width and a height {wanted}, got {self.size[0]} {self.size[1]}.'
            )
        if self.device != 'cpu':
            _check_device(self.device)
        for name in ('config', 'baseline'):
            if hasattr(self, name):
                from vispropnet.config import load_config

                load_config(getattr(self, name))
        self._check()

    def _check(self) -> None:
        """Checks what only this benchmark asks of its options."""


@dataclass(frozen=True, kw_only=True)
class PyramidSettings(Settings):
    """Options of benchmarks that run a part of a model on drawn features."""

    step: ClassVar[int] = 32

    size: tuple[int, int] = _size(640, 384, 'of the frames in pixels, multiples of 32')
    channels: int = option(256, 'of the features')


@dataclass(frozen=True, kw_only=True)
class AttentionSettings(PyramidSettings):
    """The attention neck, beside its dense form."""

    levels: int = option(5, 'of features, of strides 4, 8, 16 and so on')
    value: str = option('current', 'whose features are summed up', choices=('current', 'reference'))


@dataclass(frozen=True, kw_only=True)
class VosReadoutSettings(Settings):
    """Reading from the memory of given objects, beside the form with the whole affinity."""

    smallest: ClassVar[int] = 64
    step: ClassVar[int] = 16

    size: tuple[int, int] = _size(864, 480, 'of the frames in pixels, multiples of 16')
    frames: int = option(20, 'in the memory')
    objects: int = option(1, 'in the memory')
    keys: int = option(64, 'channels of the keys')
    channels: int = option(512, "of an object's values")
    top_k: int = option(20, 'positions of the memory that count')

    def _check(self) -> None:
        positions = self.frames * self.size[0] * self.size[1] // 256
        if self.top_k > positions:
            raise UserError(f'--top-k {self.top_k}: the memory has {positions} positions only.')


@dataclass(frozen=True, kw_only=True)
class VosEvaluateSettings(Settings):
    """J and F of index masks, read from PNGs, beside plain NumPy and OpenCV."""

    device: str = 'cpu'
    memory: bool = False
    size: tuple[int, int] = _size(854, 480, 'of the masks in pixels')
    videos: int = option(4, 'drawn')
    frames: int = option(60, 'of a video')
    objects: int = option(2, 'of a video, up to 254')

    def _check(self) -> None:
        if self.objects > 254 or self.frames < 3:
            raise UserError(
                '--objects takes up to 254 and --frames 3 or more (the first and the last are not '
                f'scored), got {self.objects} and {self.frames}.'
            )


@dataclass(frozen=True, kw_only=True)
class PropagationSettings(PyramidSettings):
    """Masks of missing tracks, beside the definition written plainly."""

    missing: int = option(1, 'tracks that are missing in the current frame')
    tracks: int = option(8, 'tracks in every frame of the history')
    history: int = option(24, 'frames of the history')
    classes: int = option(40, 'categories')
    fusion: str = option('masks', 'averaged by ours', choices=('masks', 'attention'))

    def _check(self) -> None:
        if self.missing > self.tracks:
            raise UserError(
                f'--missing {self.missing}: only the {self.tracks} tracks of the history '
                '(--tracks) can be missing.'
            )


@dataclass(frozen=True, kw_only=True)
class TemporalRoIAlignSettings(PyramidSettings):
    """Temporal RoI Align, beside the operator written plainly."""

    may_be_zero: ClassVar[tuple[str, ...]] = ('seed', 'heads')

    frames: int = option(14, 'that support')
    rois: int = option(200, 'of the frame')
    level: str = option('last', 'of a support frame to search', choices=('last', 'own'))
    similar: int = option(2, 'most similar positions of a support frame')
    heads: int = option(4, 'of the attention over frames; 0 for equal weights')


@dataclass(frozen=True, kw_only=True)
class MaskpropSettings(PyramidSettings):
    """Masks carried through a clip by MaskProp's linear head, beside it written plainly."""

    reach: int = option(6, 'frames of the clip to each side')
    objects: int = option(10, 'of the frame')


@dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """Options of benchmarks that run the model of a config on drawn clips."""

    size: tuple[int, int] = _size(640, 360, 'of the frames in pixels; the model pads them')
    config: str = option(_OURS.format(_LARGE), 'ours')
    objects: int = option(2, 'in a frame; YouTube-VIS 2019 has 1.7')
    batch_size: int = 2
    num_refs: int = 1


@dataclass(frozen=True, kw_only=True)
class PairSettings(ModelSettings):
    """Options of benchmarks that run the models of two configs on the same input."""

    baseline: str = option(_MMDET.format(_LARGE), 'its config')
    same_test_cfg: bool = True
    channels_last: bool = False
    compile: bool = False
    amp: str | None = option(None, 'mixed precision of ours', choices=('bf16', 'fp16'))

    def _check(self) -> None:
        self.acceleration.check(self.device)

    @property
    def acceleration(self) -> Any:
        """Acceleration of ours; the baseline goes without."""
        from vispropnet.engine.acceleration import Acceleration

        return Acceleration(self.amp, self.channels_last, self.compile)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(PairSettings):
    """A training step of two configs on the same input."""

    batch_size: int = option(2, 'clips of a step')
    num_refs: int = option(1, 'reference frames of a clip')
    channels_last: bool = option(False, 'ours keeps the channels of a pixel together')
    compile: bool = option(False, 'ours compiles its backbone, before its runs are timed')
    options_table: bool = option(False, 'measure ours with each of these options, and with several')

    def _check(self) -> None:
        super()._check()
        if self.options_table and (self.amp or self.channels_last or self.compile):
            raise UserError(
                '--options-table measures all options by itself; leave out --amp, '
                '--channels-last and --compile.'
            )


@dataclass(frozen=True, kw_only=True)
class InferSettings(PairSettings):
    """A test frame of two configs, from JPEG to encoded masks, no track missing."""

    detections: int = option(10, 'in a frame, of both, as a limit that binds')
    batch: int = option(1, 'frames of a run, which ours encodes at once', metavar='K')
    same_test_cfg: bool = option(
        True,
        'give the baseline the proposals and detections of --config',
        action=argparse.BooleanOptionalAction,
    )


@dataclass(frozen=True, kw_only=True)
class SafetySettings(ModelSettings):
    """Checks and checkpoints of a training step, beside a step without."""

    memory: bool = False
    batch_size: int = option(2, 'clips of a step')
    every: int = option(1000, 'training steps from one checkpoint to the next')


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(Settings):
    """Twelve metrics of a set like YouTube-VIS 2021's validation, beside mmdet's YTVISeval."""

    device: str = 'cpu'
    size: tuple[int, int] = _size(1280, 720)
    tracks: tuple[int, int] = option((10, 100), 'of a video', metavar=('FEWEST', 'MOST'))
    videos: int = option(421, 'of the drawn set')
    frames: int = option(30, 'of a video, a fifth more or less')
    categories: int = option(40, 'of objects')
    resamples: int = option(1000, 'data sets of the bootstrap')
    distinct: bool = option(False, 'no mask stands twice; otherwise tracks share some')

    def _check(self) -> None:
        if not 0 < self.tracks[0] <= self.tracks[1]:
            raise UserError(
                '--tracks takes the fewest and the most of a video, 1 or more, got '
                f'{self.tracks[0]} {self.tracks[1]}.'
            )


@dataclass(frozen=True, kw_only=True)
class PostprocessSettings(Settings):
    """From mask logits to encoded masks, beside mmdet's paste and encode."""

    smallest: ClassVar[int] = 1

    size: tuple[int, int] = _size(1280, 720, 'of the frame in pixels')
    detections: int = option(100, 'in the frame')
    sides: tuple[float, float] = option(
        (0.05, 0.5), "of the boxes, as part of the frame's", metavar=('SHORTEST', 'LONGEST')
    )

    def _check(self) -> None:
        if not 0 < self.sides[0] <= self.sides[1] <= 1:
            raise UserError(
                '--sides takes the shortest and the longest side of a box, above 0 and at most 1, '
                f'got {self.sides[0]} {self.sides[1]}.'
            )


@dataclass(frozen=True, kw_only=True)
class MapMasksSettings(Settings):
    """Masks of the queries that survive at the frame's size, beside those of all queries."""

    smallest: ClassVar[int] = 64

    size: tuple[int, int] = _size(1280, 720, 'of the frame in pixels; half of it for the network')
    queries: int = option(100, 'of the model')
    survivors: int = option(10, 'queries whose masks are wanted')

    def _check(self) -> None:
        if self.survivors > self.queries:
            raise UserError(
                f'--survivors {self.survivors}: there are {self.queries} queries only (--queries).'
            )


@dataclass(frozen=True, kw_only=True)
class MemorySettings(Settings):
    """Growth of memory with the length of a video, beside mmdet's tracker."""

    smallest: ClassVar[int] = 1

    repeats: int = 1
    memory: bool = True
    size: tuple[int, int] = _size(320, 180, 'of the frames in pixels, in which masks are made')
    config: str = option(_OURS.format(_SMALL), 'ours')
    baseline: str = option(_MMDET.format(_SMALL), 'its config')
    frames: int = option(2000, 'of the video')
    short: int = option(200, 'frames after which the memory is compared with that at the end')
    detections: int = option(10, 'in a frame')

    def _check(self) -> None:
        if self.short >= self.frames:
            raise UserError(f'--short must be below --frames {self.frames}, got {self.short}.')


@dataclass(frozen=True, kw_only=True)
class BusySettings(Settings):
    """Quiet and beside spinning processes, by the way that threads wait for work."""

    device: str = 'cpu'
    memory: bool = False
    repeats: int = option(3, 'processes of each kind')
    runs: int = option(7, 'timed runs in a process, quiet and again busy')
    load: int = option(2, 'spinning processes beside')
    config: str = option(
        str(_CONFIGS / 'objprop' / f'objprop_{_SMALL}.py'), 'small model of infer and train'
    )
    size: tuple[int, int] = _size(160, 96, 'of the frames of infer and train')
    batch_size: int = option(4, 'clips of a training step')
    works: tuple[str, ...] = option(
        ('postprocess', 'infer', 'train'),
        'measured',
        nargs='+',
        choices=('postprocess', 'infer', 'train'),
        metavar='WORK',
    )
    policies: tuple[str, ...] = option(
        ('default', 'ours'),
        'ways to wait, the others compared with the first: default is that of the libraries, ours '
        'that of vispropnet, passive OMP_WAIT_POLICY=PASSIVE, a number GOMP_SPINCOUNT',
        nargs='+',
        metavar='POLICY',
    )

    def _check(self) -> None:
        for one in self.policies:
            if one not in ('default', 'ours', 'passive') and not one.isdecimal():
                raise UserError(
                    f'--policies takes default, ours, passive or numbers of spins, got {one!r}.'
                )


# By the name of the module that measures, with hyphens.
COMMANDS: dict[str, type[Settings]] = {
    'propagation': PropagationSettings,
    'attention': AttentionSettings,
    'temporal-roi-align': TemporalRoIAlignSettings,
    'maskprop': MaskpropSettings,
    'train': TrainSettings,
    'infer': InferSettings,
    'evaluate': EvaluateSettings,
    'postprocess': PostprocessSettings,
    'map-masks': MapMasksSettings,
    'memory': MemorySettings,
    'safety': SafetySettings,
    'busy': BusySettings,
    'vos-readout': VosReadoutSettings,
    'vos-evaluate': VosEvaluateSettings,
}


def parse(description: str, arguments: list[str] | None = None) -> tuple[str, dict[str, Any]]:
    """Parses the command line.

    Args:
        description: Of the tool.
        arguments: Of the command line; None for those of the process.

    Returns:
        The command, and the values of its :class:`Settings`, not yet checked.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='WHAT')
    for name, kind in COMMANDS.items():
        command = commands.add_parser(name, help=kind.__doc__, description=kind.__doc__)
        for one in fields(kind):
            if 'help' in one.metadata:
                _add_option(command, one)
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(parser.parse_args(arguments)).items()
    }
    return values.pop('command'), values


def _add_option(parser: argparse.ArgumentParser, one: Field) -> None:
    given = dict(one.metadata)
    flag = given.pop('flag') or f'--{one.name.replace("_", "-")}'
    several = isinstance(one.default, tuple)
    if isinstance(one.default, bool):
        given.setdefault('action', 'store_true')
    elif one.default is not None:
        if several:
            given.setdefault('nargs', len(one.default))
        given['type'] = type(one.default[0] if several else one.default)
        if 'default' not in given:
            shown = ' '.join(map(str, one.default)) if several else one.default
            given['help'] += f' ({shown})'
    parser.add_argument(flag, dest=one.name, **{'default': one.default, **given})


def _check_device(device: str) -> None:
    import torch

    try:
        kind = torch.device(device)
    except RuntimeError:
        kind = torch.device('meta')
    if kind.type not in ('cpu', 'cuda'):
        raise UserError(f"--device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}.")
    count = torch.cuda.device_count()
    if kind.type == 'cuda' and (kind.index or 0) >= count:
        raise UserError(f'--device {device}: this machine has {count or "no"} CUDA devices.')
