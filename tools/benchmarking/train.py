"""A training step of two configs' models on the same input."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from mmengine.optim import build_optim_wrapper

from benchmarking.checks import check_positive
from benchmarking.measure import (
    NAMES,
    Comparison,
    Variant,
    circumstances,
    compare,
    report,
    say,
)
from benchmarking.models import Settings, build, described
from vispropnet.config import load_config
from vispropnet.engine.acceleration import Acceleration, keep_freed_memory
from vispropnet.errors import UserError

# What the table of options measures beside the plain step: each alone, and together.
TABLE = (
    Acceleration(channels_last=True),
    Acceleration(compile=True),
    Acceleration(amp='bf16'),
    Acceleration(amp='bf16', channels_last=True),
    Acceleration(amp='bf16', channels_last=True, compile=True),
)


@dataclass(frozen=True)
class TrainSettings(Settings):
    """Whose training steps are measured, on what, and with what.

    Args:
        amp: As in :class:`~vispropnet.engine.acceleration.Acceleration`; this and the next two are
            for ours, the baseline goes without.
        channels_last: As there.
        compile: As there.
        options_table: Whether ours is measured with each of them, and with several, in turn.
    """

    amp: str | None = None
    channels_last: bool = False
    compile: bool = False
    options_table: bool = False

    @property
    def acceleration(self) -> Acceleration:
        """What makes ours faster."""
        return Acceleration(self.amp, self.channels_last, self.compile)

    def check(self) -> None:
        """Checks them.

        Raises:
            UserError: for what cannot be run.
        """
        super().check()
        self.acceleration.check(self.device)
        if self.options_table and self.acceleration != Acceleration():
            raise UserError(
                '--options-table measures all options by itself; leave out --amp, '
                '--channels-last and --compile.'
            )


def benchmark_train(settings: TrainSettings, repeats: int, memory: bool = True) -> dict[str, Any]:
    """Measures a training step: forward, backward and the step of the config's optimiser.

    Args:
        settings: Whose, and on what.
        repeats: Timed runs of each.
        memory: Whether memory is measured.

    Returns:
        The JSON object of the last line.

    Raises:
        UserError: for settings that cannot be run.
    """
    settings.check()
    check_positive(repeats=repeats)
    # As training does, here for both.
    kept = settings.device == 'cpu' and keep_freed_memory()
    result = _compare(settings, repeats, memory)
    rows = []
    if settings.options_table:
        rows = [_row(Acceleration(), result), *_measure_options(settings, repeats)]
        _print_table(rows)
    measured = {
        **described(settings),
        'batch_size': settings.batch_size,
        'num_refs': settings.num_refs,
        'objects': settings.objects,
        'options': str(settings.acceleration),
        'freed_memory': 'kept by the process' if kept else 'as the system does',
        'learning_rate': 'zero: every step does the same work',
        'losses': result.outputs,
        **circumstances(settings.device, repeats, settings.seed),
    }
    if settings.amp is not None:
        measured['dtype'] = f'{settings.amp} layers of ours, float32 of the baseline'
    if rows:
        measured['options_table'] = rows
    return report('train', result, None, measured)


def make_train(name: str, settings: TrainSettings) -> Variant:
    """Builds one of the two training steps for :func:`~benchmarking.measure.compare`.

    Args:
        name: ``'ours'`` or ``'baseline'``.
        settings: Whose, and on what.
    """
    model, data = build(name, settings)
    acceleration = settings.acceleration if name == 'ours' else Acceleration()
    acceleration.prepare(model)
    wrapper = build_optim_wrapper(model, acceleration.optim_wrapper(_optimiser(name, settings)))
    for group in wrapper.param_groups:
        group['lr'] = 0.0
    model.train()

    def prepare() -> dict:
        # Ground truth is padded in place, and RoIs are drawn.
        torch.manual_seed(settings.seed)
        return copy.deepcopy(data)

    def run(batch: dict) -> float:
        return model.train_step(batch, wrapper)['loss'].item()

    # What the optimiser remembers is made in its first step, and is not memory of the others.
    run(prepare())
    return Variant(run, prepare)


def _compare(settings: TrainSettings, repeats: int, memory: bool) -> Comparison:
    small = replace(settings, size=(64, 64), batch_size=1)
    return compare(make_train, settings, small, repeats, settings.device, memory)


def _measure_options(settings: TrainSettings, repeats: int) -> list[dict[str, Any]]:
    rows = []
    for one in TABLE:
        try:
            one.check(settings.device)
        except UserError as error:
            say(f'without {one}: {error}')
            continue
        say(f'{one}:')
        chosen = replace(settings, options_table=False, **asdict(one))
        rows.append(_row(one, _compare(chosen, repeats, memory=False)))
    return rows


def _row(acceleration: Acceleration, result: Comparison) -> dict[str, Any]:
    ours, baseline = (result.median(name) for name in NAMES)
    return {
        'options': str(acceleration),
        'ours_s': ours,
        'baseline_s': baseline,
        'ratio': baseline / ours,
        'loss': result.outputs['ours'],
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    print(f'{"options of ours":34}{"ours":>10}{"baseline":>11}{"ratio":>8}{"loss":>9}')
    for row in rows:
        print(
            f'{row["options"]:34}{row["ours_s"]:>8.3g} s{row["baseline_s"]:>9.3g} s'
            f'{row["ratio"]:>7.2f}x{row["loss"]:>9.4f}'
        )


def _optimiser(name: str, settings: Settings) -> dict:
    """The config's own; a config that has none (a model alone) takes the other's."""
    paths = dict(zip(NAMES, (settings.config, settings.baseline), strict=True))
    found = {one: load_config(path).get('optim_wrapper') for one, path in paths.items()}
    wrapper = found[name] or found['ours'] or found['baseline']
    if wrapper is None:
        raise UserError(f'neither {settings.config} nor {settings.baseline} has an optim_wrapper.')
    return copy.deepcopy(wrapper)
