"""Training of a config, what ``tools/train.py`` calls, and the set-up that it shares with test."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import is_model_wrapper

from vispropnet.config import AUTO, LOADERS, explain_config_errors, load_config
from vispropnet.datasets.categories import annotation_files, use_classes
from vispropnet.datasets.configured_categories import check_scored_file, fill_num_classes
from vispropnet.engine.acceleration import Acceleration, keep_freed_memory
from vispropnet.engine.checkpoints.resuming import find_resumable
from vispropnet.engine.folder_lock import locked_folder
from vispropnet.engine.runner import VISRunner
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.registry import PARAM_SCHEDULERS
from vispropnet.text import first_of

# Environment variables in which launchers number the ranks.
_RANKS = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


def train(
    config: str | os.PathLike,
    work_dir: str | os.PathLike | None = None,
    resume: str | None = None,
    amp: bool | str = False,
    seed: int | None = None,
    launcher: str = 'none',
    overrides: Sequence[str] = (),
    trust_checkpoint: bool = False,
    channels_last: bool = False,
    compile_backbone: bool = False,
) -> VISRunner:
    """Trains the model of a config.

    Args:
        config: The config file.
        work_dir: Folder of logs and checkpoints, which no other run may be using; by default the
            config's ``work_dir``, else ``work_dirs/<config name>``.
        resume: ``'auto'`` for the newest checkpoint of the work dir that is whole (from the start
            if it has none), or a checkpoint file.
        amp: Mixed precision: ``'bf16'``, or ``'fp16'`` (True means the same), which needs a GPU.
        seed: Seed of the run, if not the config's.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        overrides: ``key=value`` changes of the config.
        trust_checkpoint: Whether checkpoints may run code while they are read.
        channels_last: Whether convolutions keep the channels of a pixel together. Like the next
            option it changes speed only; the default is ``acceleration`` of the config.
        compile_backbone: Whether the backbone is compiled first.

    Returns:
        The runner, after training.

    Raises:
        UserError: for anything wrong in config, data or checkpoints.
        Stopped: on SIGTERM and SIGINT, when the state is saved; for non-finite values.
    """
    cfg = load_config(config, overrides)
    fill_num_classes(cfg)
    set_up_run(cfg, work_dir or default_work_dir(cfg, config), launcher, trust_checkpoint)
    _accelerate(cfg, 'fp16' if amp is True else amp, channels_last, compile_backbone)
    if seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
    if resume not in (None, 'auto') and os.path.isdir(resume):
        raise UserError(
            f'--resume {resume}: it is a folder. For the newest checkpoint in it: '
            f'--work-dir {resume} --resume'
        )
    with contextlib.ExitStack() as stack:
        # The ranks of a run share its work dir: the first one locks it for all.
        if int(os.environ.get(_RANKS.get(launcher, ''), 0)) == 0:
            stack.enter_context(locked_folder(cfg.work_dir))
        if resume is not None:
            newest = _find_newest(cfg) if resume == 'auto' else resume
            if newest is not None:
                cfg.resume, cfg.load_from = True, newest
        runner = _build_runner(cfg, config)
        runner.train()
    return runner


def default_work_dir(cfg: Config, config: str | os.PathLike) -> str:
    """Gives the work dir that a config names, or else ``work_dirs/<name of its file>``."""
    return cfg.get('work_dir') or os.path.join('work_dirs', Path(config).stem)


def set_up_run(
    cfg: Config, work_dir: str | os.PathLike, launcher: str, trust_checkpoint: bool
) -> None:
    """Makes the work dir, and puts the options of a run into its config, in place."""
    _check_workers(cfg)
    try:
        os.makedirs(work_dir, exist_ok=True)
    except OSError as error:
        reason = 'it is a file' if os.path.isfile(work_dir) else error.strerror
        raise UserError(
            f'work dir {work_dir} cannot be made: {reason}. Choose another with --work-dir.'
        ) from None
    cfg.work_dir, cfg.launcher = os.fspath(work_dir), launcher
    cfg.trust_checkpoint = trust_checkpoint
    if torch.cuda.is_available():
        copy_asynchronously(cfg)


# Options of loaders that take workers, and their values without.
_OF_WORKERS = {'persistent_workers': False, 'prefetch_factor': None, 'timeout': 0}


def _check_workers(cfg: Config) -> None:
    """Finds options of loaders that torch refuses, without naming the loader."""
    for name in LOADERS:
        loader = cfg.get(name) or {}
        workers = loader.get('num_workers', 0)
        if type(workers) is not int or workers < 0:
            raise UserError(
                f'config {cfg.filename}: {name}.num_workers must be a whole number from 0 on, '
                f'found {workers!r}.'
            )
        for key, without in _OF_WORKERS.items():
            if not workers and loader.get(key):
                raise UserError(
                    f'config {cfg.filename}: {name} has {key}={loader[key]!r}, which needs '
                    f'workers, and num_workers=0. Pass --cfg-options {name}.{key}={without} or '
                    f'{name}.num_workers=2.'
                )


def copy_asynchronously(cfg: Config) -> None:
    """Has the host not wait for copies of frames to a GPU, unless a config says so; in place."""
    for name in LOADERS:
        if cfg.get(name) is not None:
            cfg[name].setdefault('pin_memory', True)
    preprocessor = cfg.model.get('data_preprocessor')
    if preprocessor is not None:
        preprocessor.setdefault('non_blocking', True)


def check_num_classes(
    runner: VISRunner, classes: Sequence[str], files: Sequence[str], config: str | os.PathLike
) -> None:
    """Checks that a model has as many classes as its data; a UserError if they differ.

    Args:
        runner: Has the model.
        classes: Categories of the data.
        files: Where they come from.
        config: The config file.
    """
    for name, count in _model_of(runner).category_counts().items():
        if count != len(classes):
            raise UserError(
                f'config {config}: model.{name} has num_classes={count}, but the annotation file '
                f'has {len(classes)} categories ({first_of(classes, 6)}): {first_of(files, 6)}. '
                f'To take the number from the data to train on: --cfg-options num_classes={AUTO}'
            )


def _model_of(runner: VISRunner) -> VISDetector:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _build_runner(cfg: Config, config: str | os.PathLike) -> VISRunner:
    """Builds all that training needs, so that mistakes in the config come before it."""
    with explain_config_errors(config):
        runner = VISRunner.from_cfg(cfg)
        runner.train_loop  # noqa: B018 (built when it is first asked for)
        if cfg.get('val_cfg') is not None:
            runner.val_loop  # noqa: B018
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        # The runner builds the schedules when training has begun: here they get a stand-in.
        stand_in = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
        for scheduler in cfg.get('param_scheduler') or ():
            scheduler = {**scheduler, 'convert_to_iter_based': False}
            PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=stand_in))
    train_set = runner.train_loop.dataloader.dataset
    classes = train_set.metainfo['classes']
    check_num_classes(runner, classes, annotation_files(train_set), config)
    if cfg.get('val_cfg') is not None and _model_of(runner).category_counts():
        validated = runner.val_loop.dataloader.dataset
        use_classes(validated, classes, 'val_dataloader.dataset')
        check_scored_file(cfg.val_evaluator.ann_file, validated)
    return runner


def _find_newest(cfg: Config) -> str | None:
    newest, skipped = find_resumable(cfg.work_dir, cfg.get('trust_checkpoint', False))
    for reason in skipped:
        print(f'{cfg.work_dir}: skipping {reason}.', file=sys.stderr)
    if newest is None:
        print(f'{cfg.work_dir} has no checkpoint to resume from: starting from the beginning.')
    elif skipped:
        print(f'Resuming from an older checkpoint: {newest}.', file=sys.stderr)
    return newest and str(newest)


def _accelerate(cfg: Config, amp: bool | str, channels_last: bool, compile_backbone: bool) -> None:
    asked = {'amp': amp, 'channels_last': channels_last, 'compile': compile_backbone}
    chosen = Acceleration.from_config(cfg.get('acceleration'))
    chosen = replace(chosen, **{name: value for name, value in asked.items() if value})
    chosen.check(get_device())
    if get_device() == 'cpu':
        keep_freed_memory()
    # In the config, so that the copy in the work dir records it.
    cfg.acceleration = asdict(chosen)
