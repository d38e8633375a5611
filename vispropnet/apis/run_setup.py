"""Set-up and checks that training and test share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper

from vispropnet.config import LOADERS
from vispropnet.engine.runner import VISRunner
from vispropnet.errors import UserError


def default_work_dir(cfg: Config, config: str | os.PathLike) -> str:
    """Gives the work dir that a config names, or else ``work_dirs/<name of its file>``."""
    return cfg.get('work_dir') or os.path.join('work_dirs', Path(config).stem)


def set_up_run(
    cfg: Config, work_dir: str | os.PathLike, launcher: str, trust_checkpoint: bool
) -> None:
    """Makes the work dir, and puts the options of a run into its config.

    Args:
        cfg: The config, changed in place.
        work_dir: Folder of logs and checkpoints.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        trust_checkpoint: Whether checkpoints may run code while they are read.

    Raises:
        UserError: if the folder cannot be made.
    """
    try:
        os.makedirs(work_dir, exist_ok=True)
    except OSError as error:
        reason = 'it is a file' if os.path.isfile(work_dir) else error.strerror
        raise UserError(
            f'work dir {work_dir} cannot be made: {reason}. Choose another with --work-dir.'
        ) from None
    cfg.work_dir, cfg.launcher, cfg.trust_checkpoint = (
        os.fspath(work_dir),
        launcher,
        trust_checkpoint,
    )
    if torch.cuda.is_available():
        copy_asynchronously(cfg)


def copy_asynchronously(cfg: Config) -> None:
    """Has frames copied to a GPU while it computes, unless a config says otherwise; in place."""
    for name in LOADERS:
        if cfg.get(name) is not None:
            cfg[name].setdefault('pin_memory', True)
    preprocessor = cfg.model.get('data_preprocessor')
    if preprocessor is not None:
        preprocessor.setdefault('non_blocking', True)


def check_num_classes(runner: VISRunner, classes: Sequence[str], config: str | os.PathLike) -> None:
    """Checks that a model has as many classes as its data.

    Args:
        runner: Holds the model.
        classes: Names of the data set's categories.
        config: The config file, for the message.

    Raises:
        UserError: if they differ.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    for name, count in model.category_counts().items():
        if count != len(classes):
            raise UserError(
                f'config {config}: model.{name} has num_classes={count}, but the annotation file '
                f'has {len(classes)} categories ({", ".join(classes[:6])}'
                f'{", ..." if len(classes) > 6 else ""}).'
            )
