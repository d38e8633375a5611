"""Training and test of a config: what ``tools/train.py`` and ``tools/test_video.py`` call."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper

from vispropnet.config import LOADERS, explain_config_errors, load_config
from vispropnet.engine.acceleration import (
    Acceleration,
    keep_freed_memory,
    prepare_for_inference,
)
from vispropnet.engine.checkpoints.resuming import find_resumable
from vispropnet.engine.inference import frames_at_once
from vispropnet.engine.runner import VISRunner
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import format_table
from vispropnet.evaluation.result_file import check_folder, check_writable
from vispropnet.fileio import read_json, write_json
from vispropnet.registry import PARAM_SCHEDULERS
from vispropnet.visualization.results import draw_results


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
        work_dir: Where logs and checkpoints go; by default the config's ``work_dir``, else
            ``work_dirs/<config name>``.
        resume: ``'auto'`` for the newest checkpoint of the work dir that is whole (from the start
            if it has none), or a checkpoint file.
        amp: Mixed precision: ``'bf16'``, or ``'fp16'`` (True means the same), which needs a GPU.
        seed: Seed of the run, if not the config's.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        overrides: ``key=value`` changes of the config.
        trust_checkpoint: Whether checkpoints may run code while they are read.
        channels_last: Whether convolutions keep the channels of a pixel together. This and the
            next are faster where they pay, and change neither recipe nor checkpoints. What is
            not asked for here is as ``acceleration`` in the config says.
        compile_backbone: Whether the backbone is compiled first.

    Returns:
        The runner, after training.

    Raises:
        UserError: for anything wrong in config, data or checkpoints.
        Stopped: on SIGTERM and SIGINT, when the state is saved; for numbers that are not finite.
    """
    cfg = load_config(config, overrides)
    _set_up(cfg, config, work_dir, launcher, trust_checkpoint)
    _accelerate(cfg, 'fp16' if amp is True else amp, channels_last, compile_backbone)
    if seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
    if resume not in (None, 'auto') and os.path.isdir(resume):
        raise UserError(
            f'--resume {resume}: it is a folder. For the newest checkpoint in it: '
            f'--work-dir {resume} --resume'
        )
    if resume is not None:
        newest = _find_newest(cfg) if resume == 'auto' else resume
        if newest is not None:
            cfg.resume, cfg.load_from = True, newest
    with explain_config_errors(config):
        runner = VISRunner.from_cfg(cfg)
        # Built now, so that what is wrong in the config is told apart from what fails in training.
        loops = [runner.train_loop]
        if cfg.get('val_cfg') is not None:
            loops.append(runner.val_loop)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        _try_schedulers(cfg)
    for loop in loops:
        check_num_classes(runner, loop.dataloader.dataset.metainfo['classes'], config)
    runner.train()
    return runner


def test(
    config: str | os.PathLike,
    checkpoint: str,
    out: str | os.PathLike,
    evaluate: bool = False,
    metrics_out: str | os.PathLike | None = None,
    show_dir: str | os.PathLike | None = None,
    launcher: str = 'none',
    overrides: Sequence[str] = (),
    trust_checkpoint: bool = False,
    amp: str | None = None,
    batch: int | None = None,
) -> dict[str, float] | None:
    """Segments the test videos of a config and writes the result file.

    Args:
        config: The config file.
        checkpoint: The weights.
        out: The result file, ``*.json``; ``*.zip`` is written beside it.
        evaluate: Whether to score against the annotation file and print the table.
        metrics_out: JSON file for the figures.
        show_dir: Folder to draw the results into.
        launcher: As in :func:`train`.
        overrides: ``key=value`` changes of the config.
        trust_checkpoint: Whether the checkpoint may run code while it is read.
        amp: Mixed precision, as in :func:`~vispropnet.apis.models.init_model`.
        batch: Frames of a video that are encoded at once; by default ``batch`` of the config's
            ``test_cfg``, else 1 on a CPU and 4 on a GPU.

    Returns:
        ``mAP, AP50, AP75, AR1, AR10``; None if not asked for, or if there is no annotation to score
        against.

    Raises:
        UserError: for anything wrong in config, data or checkpoint.
    """
    Acceleration(amp=amp).check(get_device())
    if batch is not None:
        frames_at_once(batch, torch.device(get_device()))
    cfg = load_config(config, overrides)
    if batch is not None:
        cfg.test_cfg.batch = batch
    for name in [name for name in cfg if name.startswith(('train_', 'val_', 'optim_', 'param_'))]:
        cfg.pop(name)
    check_writable(out)
    for path in (metrics_out, None if show_dir is None else Path(show_dir) / 'drawings'):
        if path is not None:
            check_folder(path)
    if metrics_out is not None and not evaluate:
        raise UserError(
            '--metrics-out needs --eval segm: without it there are no figures to write.'
        )
    cfg.load_from, cfg.resume = checkpoint, False
    cfg.visualizer = dict(type='Visualizer')
    can_evaluate = evaluate and has_annotations(cfg)
    cfg.test_evaluator.update(outfile=os.fspath(out), evaluate=can_evaluate)
    work_dir = Path(cfg.get('work_dir') or os.path.join('work_dirs', Path(config).stem))
    _set_up(cfg, config, work_dir / 'test', launcher, trust_checkpoint)
    with explain_config_errors(config):
        runner = VISRunner.from_cfg(cfg)
        loop = runner.test_loop
    classes = loop.dataloader.dataset.metainfo['classes']
    check_num_classes(runner, classes, config)
    runner.load_or_resume()
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    prepare_for_inference(model, amp)
    check_class_order(runner.loaded_classes, classes, checkpoint)
    metrics = {name.split('/')[-1]: value for name, value in runner.test().items()}
    if is_main_process():
        _report(cfg, metrics, out, evaluate, metrics_out, show_dir)
    return metrics if can_evaluate else None


def _find_newest(cfg: Config) -> str | None:
    work_dir = cfg.work_dir
    newest, passed_over = find_resumable(work_dir, cfg.get('trust_checkpoint', False))
    for reason in passed_over:
        print(f'{work_dir}: passing over {reason}.', file=sys.stderr)
    if newest is None:
        print(f'{work_dir} has no checkpoint to go on from: starting from the beginning.')
    elif passed_over:
        print(f'Going on from an older checkpoint: {newest}.', file=sys.stderr)
    return newest and str(newest)


def _report(
    cfg: Config,
    metrics: dict[str, float],
    out: str | os.PathLike,
    evaluate: bool,
    metrics_out: str | os.PathLike | None,
    show_dir: str | os.PathLike | None,
) -> None:
    print(f'results: {out}\nto upload: {Path(out).with_suffix(".zip")}')
    if evaluate and not metrics:
        print(
            f'{cfg.test_evaluator.ann_file} has no annotations, so there is nothing to score '
            'against here'
            + (f' and {metrics_out} is not written' if metrics_out is not None else '')
            + '; upload the archive to the evaluation server.'
        )
    elif evaluate:
        print(f'scored against {cfg.test_evaluator.ann_file}')
        print(format_table(metrics))
        if metrics_out is not None:
            write_json(metrics_out, metrics, indent=2)
    if show_dir is not None:
        dataset = cfg.test_dataloader.dataset
        images = os.path.join(dataset.get('data_root') or '', dataset.data_prefix.img)
        drawn, total = draw_results(cfg.test_evaluator.ann_file, out, images, show_dir)
        print(f'drawings: {show_dir} ({drawn} of {total} tracks score enough to be drawn)')


def has_annotations(cfg: Config) -> bool:
    """Whether the test data of a config come with annotations.

    Args:
        cfg: The config.

    Raises:
        UserError: if the annotation file is missing or broken.
    """
    hint = cfg.test_dataloader.dataset.get('hint', '')
    content = read_json(cfg.test_evaluator.ann_file, 'annotation file', hint)
    return isinstance(content, dict) and bool(content.get('annotations'))


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


def check_class_order(
    trained: Sequence[str] | None, classes: Sequence[str], checkpoint: str
) -> None:
    """Checks that labels mean the same categories as when a checkpoint was trained.

    Args:
        trained: Category names the checkpoint was trained with; None if it does not say.
        classes: Those of the data at hand.
        checkpoint: The file, for the message.

    Raises:
        UserError: if they are the same names in another order. Other names count as a renaming.
    """
    if trained is None or set(trained) != set(classes):
        return
    if tuple(trained) != tuple(classes):
        raise UserError(
            f'checkpoint {checkpoint} was trained with the categories in another order than the '
            f'annotation file has them: {", ".join(trained)} against {", ".join(classes)}.'
        )


def _accelerate(cfg: Config, amp: bool | str, channels_last: bool, compile_backbone: bool) -> None:
    asked = {'amp': amp, 'channels_last': channels_last, 'compile': compile_backbone}
    chosen = Acceleration.from_config(cfg.get('acceleration'))
    chosen = replace(chosen, **{name: value for name, value in asked.items() if value})
    chosen.check(get_device())
    if get_device() == 'cpu':
        keep_freed_memory()
    # In the config, so that the copy in the work dir says how training went.
    cfg.acceleration = asdict(chosen)


def _try_schedulers(cfg: Config) -> None:
    """Builds the schedulers once on a stand-in: the runner builds them when training has begun."""
    stand_in = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
    for scheduler in cfg.get('param_scheduler') or ():
        PARAM_SCHEDULERS.build(
            {**scheduler, 'convert_to_iter_based': False}, default_args=dict(optimizer=stand_in)
        )


def _set_up(
    cfg: Config,
    config: str | os.PathLike,
    work_dir: str | os.PathLike | None,
    launcher: str,
    trust_checkpoint: bool,
) -> None:
    if work_dir is not None:
        cfg.work_dir = os.fspath(work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(config).stem)
    try:
        os.makedirs(cfg.work_dir, exist_ok=True)
    except OSError as error:
        reason = 'it is a file' if os.path.isfile(cfg.work_dir) else error.strerror
        raise UserError(
            f'work dir {cfg.work_dir} cannot be made: {reason}. Choose another with --work-dir.'
        ) from None
    cfg.launcher = launcher
    cfg.trust_checkpoint = trust_checkpoint
    if torch.cuda.is_available():
        copy_in_the_background(cfg)


def copy_in_the_background(cfg: Config) -> None:
    """Lets frames be copied to a GPU while it works, which takes pinned memory.

    Args:
        cfg: The config; changed in place. What it says itself stays.
    """
    for name in LOADERS:
        if cfg.get(name) is not None:
            cfg[name].setdefault('pin_memory', True)
    preprocessor = cfg.model.get('data_preprocessor')
    if preprocessor is not None:
        preprocessor.setdefault('non_blocking', True)
