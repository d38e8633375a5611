"""Test of a config and a checkpoint: what ``tools/test_video.py`` calls."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper

from vispropnet.apis.training import check_num_classes, default_work_dir, set_up_run
from vispropnet.config import explain_config_errors, load_config, named_data_sets
from vispropnet.datasets.categories import annotation_files, use_classes
from vispropnet.datasets.configured_categories import (
    check_scored_file,
    configured_categories,
    fill_num_classes,
)
from vispropnet.engine.acceleration import Acceleration, prepare_for_inference
from vispropnet.engine.checkpoints.reading import read_checkpoint, trained_classes
from vispropnet.engine.inference import frames_at_once
from vispropnet.engine.runner import VISRunner
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import format_table
from vispropnet.evaluation.result_file import check_folder, check_writable
from vispropnet.fileio import read_json, write_json
from vispropnet.text import first_of
from vispropnet.visualization.results import draw_results


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
        metrics_out: JSON file for the metrics.
        show_dir: Folder to draw the results into.
        launcher: As in :func:`~vispropnet.apis.training.train`.
        overrides: ``key=value`` changes of the config.
        trust_checkpoint: Whether the checkpoint may run code while it is read.
        amp: Mixed precision, as in :func:`~vispropnet.apis.models.init_model`.
        batch: Frames of a video that are encoded at once; by default ``batch`` of the config's
            ``test_cfg``, else 1 on a CPU and 4 on a GPU.

    Returns:
        ``mAP, AP50, AP75, AR1, AR10``; None if not asked for, or without annotations.

    Raises:
        UserError: for anything wrong in config, data or checkpoint.
    """
    _check_options(out, evaluate, metrics_out, show_dir, amp, batch)
    cfg = load_config(config, overrides)
    can_evaluate = evaluate and _has_annotations(cfg)
    fill_num_classes(
        cfg, lambda: trained_classes(read_checkpoint(checkpoint, trust=trust_checkpoint))
    )
    train_set = (cfg.get('train_dataloader') or {}).get('dataset')
    for name in [name for name in cfg if name.startswith(('train_', 'val_', 'optim_', 'param_'))]:
        cfg.pop(name)
    cfg.load_from, cfg.resume = checkpoint, False
    cfg.visualizer = dict(type='Visualizer')
    cfg.test_evaluator.update(outfile=os.fspath(out), evaluate=can_evaluate)
    if batch is not None:
        cfg.test_cfg.batch = batch
    work_dir = os.path.join(default_work_dir(cfg, config), 'test')
    set_up_run(cfg, work_dir, launcher, trust_checkpoint)
    runner = _build_runner(cfg, config, amp, train_set)
    metrics = {name.split('/')[-1]: value for name, value in runner.test().items()}
    if is_main_process():
        _report(cfg, metrics, out, evaluate, metrics_out, show_dir)
    return metrics if can_evaluate else None


def _check_options(
    out: str | os.PathLike,
    evaluate: bool,
    metrics_out: str | os.PathLike | None,
    show_dir: str | os.PathLike | None,
    amp: str | None,
    batch: int | None,
) -> None:
    """Checks before the work that it can be done so, and what it gives be written."""
    Acceleration(amp=amp).check(get_device())
    frames_at_once(batch, torch.device(get_device()))
    check_writable(out)
    for path in (metrics_out, None if show_dir is None else Path(show_dir) / 'drawings'):
        if path is not None:
            check_folder(path)
    if metrics_out is not None and not evaluate:
        raise UserError(
            '--metrics-out needs --eval segm: without it there are no metrics to write.'
        )


def _build_runner(
    cfg: Config, config: str | os.PathLike, amp: str | None, train_set: dict | None
) -> VISRunner:
    """Builds model and data, loads the weights, and has the data give the labels of the model."""
    with explain_config_errors(config):
        runner = VISRunner.from_cfg(cfg)
        dataset = runner.test_loop.dataloader.dataset
    runner.load_or_resume()
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if model.takes_objects:
        raise UserError(
            f'config {config}: {type(model).__name__} segments given objects; test it with '
            'tools/test_vos.py.'
        )
    prepare_for_inference(model, amp)
    counts = model.category_counts().values()
    if not counts:  # it tells no categories apart
        return runner
    classes, files = runner.loaded_classes, [cfg.load_from]
    if classes is None or any(one != len(classes) for one in counts):
        classes, files = _names_in_files(train_set, dataset, max(counts))
        runner.logger.warning(
            f'checkpoint {cfg.load_from} does not name the categories that its model tells apart: '
            f'taken to be those of {first_of(files, 3)}, in their order'
        )
    check_num_classes(runner, classes, files, config)
    use_classes(dataset, classes, 'test_dataloader.dataset')
    if cfg.test_evaluator.evaluate:
        check_scored_file(cfg.test_evaluator.ann_file, dataset)
    return runner


def _names_in_files(
    train_set: dict | None, dataset: Any, count: int
) -> tuple[Sequence[str], list[str]]:
    """Names of the data to train on, if there are as many, else of those to test on; the files."""
    with contextlib.suppress(UserError):
        names = tuple(configured_categories(train_set))
        if len(names) == count:
            return names, [one['ann_file'] for one in named_data_sets(train_set)]
    return dataset.metainfo['classes'], annotation_files(dataset)


def _report(
    cfg: Config,
    metrics: dict[str, float],
    out: str | os.PathLike,
    evaluate: bool,
    metrics_out: str | os.PathLike | None,
    show_dir: str | os.PathLike | None,
) -> None:
    annotations = cfg.test_evaluator.ann_file
    print(f'results: {out}\nto upload: {Path(out).with_suffix(".zip")}')
    if evaluate and not metrics:
        unwritten = '' if metrics_out is None else f' and {metrics_out} is not written'
        print(
            f'{annotations} has no annotations, so there is nothing to score against here'
            f'{unwritten}; upload the archive to the evaluation server.'
        )
    elif evaluate:
        print(f'scored against {annotations}\n{format_table(metrics)}')
        if metrics_out is not None:
            write_json(metrics_out, metrics, indent=2)
    if show_dir is not None:
        dataset = cfg.test_dataloader.dataset
        images = os.path.join(dataset.get('data_root') or '', dataset.data_prefix.img)
        drawn, total = draw_results(annotations, out, images, show_dir)
        print(f'drawings: {show_dir} ({drawn} of {total} tracks score enough to be drawn)')


def _has_annotations(cfg: Config) -> bool:
    hint = cfg.test_dataloader.dataset.get('hint', '')
    content = read_json(cfg.test_evaluator.ann_file, 'annotation file', hint)
    return isinstance(content, dict) and bool(content.get('annotations'))
