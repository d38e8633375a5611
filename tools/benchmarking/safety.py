"""What training pays for checkpoints that are whole and numbers that are finite."""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.optim import build_optim_wrapper
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from benchmarking.checks import check_positive
from benchmarking.measure import NAMES, Comparison, Variant, circumstances, compare, say
from benchmarking.models import Settings, build
from vispropnet.config import load_config
from vispropnet.engine.acceleration import keep_freed_memory
from vispropnet.engine.bad_numbers import BadNumbersHook
from vispropnet.engine.interruption import InterruptHook
from vispropnet.engine.quiet import quiet
from vispropnet.engine.runner import VISRunner
from vispropnet.errors import UserError


@dataclass(frozen=True)
class SafetySettings(Settings):
    """Whose steps and checkpoints are measured, and on what.

    Args:
        every: Training steps from one checkpoint to the next.
    """

    every: int = 1000

    def check(self) -> None:
        """Checks them.

        Raises:
            UserError: for what cannot be run.
        """
        super().check()
        check_positive(every=self.every)
        if load_config(self.config).get('optim_wrapper') is None:
            raise UserError(f'config {self.config} has no optim_wrapper: it is not for training.')


def benchmark_safety(settings: SafetySettings, repeats: int) -> dict[str, Any]:
    """Measures training steps with and without checks, and checkpoints of ours beside mmengine's.

    Args:
        settings: Whose, and on what.
        repeats: Timed runs of each.

    Returns:
        The JSON object of the last line. ``check_share`` is what the checks for finite numbers and
        for signals add to a step, ``save_share`` what a checkpoint every so many steps adds, as
        parts of a step without either; ``share`` is their sum.

    Raises:
        UserError: for settings that cannot be run.
    """
    settings.check()
    check_positive(repeats=repeats)
    if settings.device == 'cpu':
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        runners = {name: _runner(settings, Path(folder, name)) for name in NAMES}
        steps = _compare(lambda name, _: _step(name, *runners[name], settings), settings, repeats)
        say('checkpoints:')
        runner = runners['ours'][0]
        saves = _compare(lambda name, _: _save(name, runner, Path(folder)), settings, repeats)
        mib = Path(folder, 'ours.pth').stat().st_size / 2**20
    row = _figures(steps, saves, settings.every) | {
        'checkpoint_mib': round(mib, 1),
        'config': settings.config,
        'size': settings.size,
        'batch_size': settings.batch_size,
        'objects': settings.objects,
        'every': settings.every,
        **circumstances(settings.device, repeats, settings.seed),
    }
    del row['memory']
    _print(row)
    return row


def _figures(steps: Comparison, saves: Comparison, every: int) -> dict[str, Any]:
    # In pairs: what else the machine does changes more slowly.
    pairs = zip(steps.seconds['ours'], steps.seconds['baseline'], strict=True)
    check = statistics.median(ours / plain for ours, plain in pairs) - 1
    save = saves.median('ours') / (every * steps.median('baseline'))
    return {
        'name': 'safety',
        'step_s': steps.median('ours'),
        'plain_step_s': steps.median('baseline'),
        'check_share': check,
        'save_s': saves.median('ours'),
        'mmengine_save_s': saves.median('baseline'),
        'save_share': save,
        'share': check + save,
        'step_times_s': steps.seconds['ours'],
        'plain_step_times_s': steps.seconds['baseline'],
    }


def _print(row: dict[str, Any]) -> None:
    print(f'a step: {row["step_s"]:.4g} s with checks, {row["plain_step_s"]:.4g} s without')
    print(
        f'a checkpoint of {row["checkpoint_mib"]} MiB: {row["save_s"]:.3g} s, synced and read '
        f"back; {row['mmengine_save_s']:.3g} s by mmengine's runner"
    )
    print(
        f'of a step: checks {row["check_share"]:+.2%} (median of pairs), a checkpoint every '
        f'{row["every"]} steps {row["save_share"]:+.2%}, both {row["share"]:+.2%}'
    )
    print(json.dumps(row), flush=True)


def _compare(
    make: Callable[[str, Any], Variant], settings: SafetySettings, repeats: int
) -> Comparison:
    small = replace(settings, size=(64, 64), batch_size=1)
    return compare(make, settings, small, repeats, settings.device, memory=False)


class _NoData(BaseLoop):
    """Stands in for the training loop, which would need data."""

    epoch = iter = 0

    def run(self) -> None:
        """Does nothing."""


def _runner(settings: SafetySettings, folder: Path) -> tuple[VISRunner, dict]:
    config = load_config(settings.config)
    model, data = build('ours', settings)
    with quiet():
        scope = config.get('default_scope')
        runner = VISRunner(model, str(folder), cfg=config, default_scope=scope)
    runner._train_loop = _NoData(runner, DataLoader([0]))
    runner.optim_wrapper = build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper))
    for group in runner.optim_wrapper.param_groups:
        group['lr'] = 0.0
    model.train()
    return runner, data


def _step(name: str, runner: VISRunner, data: dict, settings: SafetySettings) -> Variant:
    hooks = [BadNumbersHook(), InterruptHook()] if name == 'ours' else []
    if hooks:
        # Alone: listening for signals is for a process that trains.
        hooks[0].before_train(runner)

    def prepare() -> dict:
        # Ground truth is padded in place, and RoIs are drawn.
        torch.manual_seed(settings.seed)
        return copy.deepcopy(data)

    def run(batch: dict) -> float:
        for hook in hooks:
            hook.before_train_iter(runner, 0, batch)
        losses = runner.model.train_step(batch, runner.optim_wrapper)
        for hook in hooks:
            hook.after_train_iter(runner, 0, batch, losses)
        return losses['loss'].item()

    return Variant(run, prepare)


def _save(name: str, runner: VISRunner, folder: Path) -> Variant:
    def run(_: None) -> None:
        save = runner.save_checkpoint
        if name == 'baseline':

            def save(*arguments: Any, **more: Any) -> None:
                Runner.save_checkpoint(runner, *arguments, **more)

        save(str(folder), f'{name}.pth', save_param_scheduler=False)

    return Variant(run)
