"""A training step of two configs' models on the same input."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper

from benchmarking.measure import NAMES, Comparison, Variant, compare, report, say
from benchmarking.models import build
from benchmarking.settings import TrainSettings as Settings
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


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures a training step: forward, backward and the step of the config's optimiser.

    Returns:
        The JSON object of the last line.
    """
    # As training does, here for both.
    kept = settings.device == 'cpu' and keep_freed_memory()
    result = _compare(settings)
    measured = {
        'ours': settings.config,
        'options': str(settings.acceleration),
        'freed_memory': 'kept by the process' if kept else 'as the system does',
        'learning_rate': 'zero: every step does the same work',
        'losses': result.outputs,
    }
    if settings.amp is not None:
        measured['dtype'] = f'{settings.amp} layers of ours, float32 of the baseline'
    if settings.options_table:
        rows = [_row(Acceleration(), result), *_measure_options(settings)]
        _print_table(rows)
        measured['options_table'] = rows
    return report('train', settings, result, **measured)


def make(name: str, settings: Settings) -> Variant:
    """Builds the training step of ``'ours'`` or ``'baseline'``."""
    model, data = build(name, settings)
    acceleration = settings.acceleration if name == 'ours' else Acceleration()
    acceleration.prepare(model)
    wrapper = build_optim_wrapper(model, acceleration.optim_wrapper(_optimiser(name, settings)))
    return step_variant(SimpleNamespace(model=model, optim_wrapper=wrapper), data, settings.seed)


def step_variant(runner: Any, data: dict, seed: int, hooks: Sequence[Hook] = ()) -> Variant:
    """Makes a training step that leaves the weights as they are.

    Args:
        runner: Has ``model`` and ``optim_wrapper``, whose learning rate becomes zero.
        data: Batch of clips.
        seed: Of the RoIs that each step draws.
        hooks: Called around each step.
    """
    for group in runner.optim_wrapper.param_groups:
        group['lr'] = 0.0
    runner.model.train()

    def prepare() -> dict:
        # Ground truth is padded in place, and RoIs are drawn.
        torch.manual_seed(seed)
        return copy.deepcopy(data)

    def run(batch: dict) -> float:
        for hook in hooks:
            hook.before_train_iter(runner, 0, batch)
        losses = runner.model.train_step(batch, runner.optim_wrapper)
        for hook in hooks:
            hook.after_train_iter(runner, 0, batch, losses)
        return float(losses['loss'])  # of a GPU, or brought from there by the guard

    variant = Variant(run, prepare)
    # What the optimiser remembers is made in its first step, and is not memory of the others.
    variant()
    return variant


def _compare(settings: Settings) -> Comparison:
    return compare(make, settings, replace(settings, size=(64, 64), batch_size=1))


def _measure_options(settings: Settings) -> list[dict[str, Any]]:
    rows = []
    for one in TABLE:
        try:
            one.check(settings.device)
        except UserError as error:
            say(f'without {one}: {error}')
            continue
        say(f'{one}:')
        chosen = replace(settings, options_table=False, memory=False, **asdict(one))
        rows.append(_row(one, _compare(chosen)))
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
