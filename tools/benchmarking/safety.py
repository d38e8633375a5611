"""Cost of checkpoints that are whole and of checks for non-finite values, for a training step."""

from __future__ import annotations

import copy
import statistics
import tempfile
from pathlib import Path
from typing import Any

from mmengine.optim import build_optim_wrapper
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from benchmarking.measure import NAMES, Comparison, Variant, compare, report, say
from benchmarking.models import build
from benchmarking.settings import SafetySettings as Settings
from benchmarking.train import step_variant
from vispropnet.config import load_config
from vispropnet.engine.acceleration import keep_freed_memory
from vispropnet.engine.hooks.interrupt import InterruptHook
from vispropnet.engine.hooks.non_finite import NonFiniteHook
from vispropnet.engine.quiet import quiet
from vispropnet.engine.runner import VISRunner
from vispropnet.errors import UserError


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures training steps with and without checks, and checkpoints of ours beside mmengine's.

    Returns:
        The JSON object of the last line. ``check_share`` is what the checks for finite values and
        for signals add to a step, ``save_share`` what a checkpoint every so many steps adds, as
        parts of a step without either; ``share`` is their sum.

    Raises:
        UserError: if the config is not for training.
    """
    if load_config(settings.config).get('optim_wrapper') is None:
        raise UserError(f'config {settings.config} has no optim_wrapper: it is not for training.')
    if settings.device == 'cpu':
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        runners = {name: _runner(settings, Path(folder, name)) for name in NAMES}
        steps = compare(lambda name, _: _step(name, *runners[name], settings), settings)
        say('checkpoints:')
        runner = runners['ours'][0]
        saves = compare(lambda name, _: _save(name, runner, Path(folder)), settings)
        mib = Path(folder, 'ours.pth').stat().st_size / 2**20
    row = shares(steps, saves, settings.every)
    print(
        f'a checkpoint of {mib:.1f} MiB: {row["save_s"]:.3g} s, synced and read '
        f"back; {row['mmengine_save_s']:.3g} s by mmengine's runner"
    )
    print(
        f'of a step: checks {row["check_share"]:+.2%} (median of pairs), a checkpoint every '
        f'{settings.every} steps {row["save_share"]:+.2%}, both {row["share"]:+.2%}'
    )
    baseline = 'a step without checks'
    return report('safety', settings, steps, None, baseline=baseline, checkpoint_mib=mib, **row)


def shares(steps: Comparison, saves: Comparison, every: int) -> dict[str, float]:
    """Cost of checks and checkpoints as parts of a step.

    Args:
        steps: With checks and without.
        saves: By our runner and by mmengine's.
        every: Steps from one checkpoint to the next.
    """
    # In pairs: what else the machine does changes more slowly.
    pairs = zip(steps.seconds['ours'], steps.seconds['baseline'], strict=True)
    check = statistics.median(ours / plain for ours, plain in pairs) - 1
    save = saves.median('ours') / (every * steps.median('baseline'))
    return {
        'check_share': check,
        'save_s': saves.median('ours'),
        'mmengine_save_s': saves.median('baseline'),
        'save_share': save,
        'share': check + save,
    }


class _NoData(BaseLoop):
    """Stands in for the training loop, which would need data."""

    epoch = iter = 0

    def run(self) -> None:
        """Does nothing."""


def _runner(settings: Settings, folder: Path) -> tuple[VISRunner, dict]:
    config = load_config(settings.config)
    model, data = build('ours', settings)
    with quiet():
        scope = config.get('default_scope')
        runner = VISRunner(model, str(folder), cfg=config, default_scope=scope)
    runner._train_loop = _NoData(runner, DataLoader([0]))
    runner.optim_wrapper = build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper))
    return runner, data


def _step(name: str, runner: VISRunner, data: dict, settings: Settings) -> Variant:
    hooks = [NonFiniteHook(), InterruptHook()] if name == 'ours' else []
    if hooks:
        # Alone: listening for signals is for a process that trains.
        hooks[0].before_train(runner)
    return step_variant(runner, data, settings.seed, hooks)


def _save(name: str, runner: VISRunner, folder: Path) -> Variant:
    save = (VISRunner if name == 'ours' else Runner).save_checkpoint
    return Variant(lambda _: save(runner, str(folder), f'{name}.pth', save_param_scheduler=False))
