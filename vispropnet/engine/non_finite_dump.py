"""Dumps of training steps with non-finite values: writing and reproducing them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from vispropnet.config import explain_config_errors, load_config
from vispropnet.engine.acceleration import Acceleration
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.engine.hooks.iteration_seed import iteration_seed
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path
from vispropnet.registry import MODELS

# Classes of plain data that a batch may hold besides tensors.
BATCH_CLASSES = (DetDataSample, InstanceData, PixelData, BitmapMasks, HorizontalBoxes)
BATCH_CLASSES += (bytes, *{type(np.dtype(code)) for code in '?bBhHiIqQfd'})  # of arrays
_FORMAT = 2


def save_dump(
    runner: Any, model: nn.Module, passes: Sequence[Mapping[str, Any]], fp16: bool = False
) -> Path:
    """Writes what :func:`reproduce` needs.

    Args:
        runner: Runner of the training.
        model: Model before the passes, not wrapped for several ranks.
        passes: Forward passes: dicts of ``epoch``, ``iteration``, ``batch`` and ``terms``.
        fp16: Whether a loss scaler was used.

    Returns:
        The file.
    """
    acceleration, rank = dict(runner.cfg.get('acceleration') or {}), get_rank()
    content = dict(
        format=_FORMAT,
        acceleration=dict(acceleration, amp='fp16') if fp16 else acceleration,
        seeds=[iteration_seed(runner.seed, rank, one['iteration']) for one in passes],
        passes=list(passes),
        state_dict=model.state_dict(),
    )
    ending = f'_rank_{rank}' if get_world_size() > 1 else ''
    name = f'iter_{passes[0]["iteration"] + 1}{ending}.pth'
    path = Path(runner.work_dir) / 'non_finite' / name
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
    return path


def reproduce(
    config: str | os.PathLike | Config,
    dump: str | os.PathLike,
    device: str = 'cpu',
    trust: bool = False,
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """Runs the passes of a dump again, with its weights, batches and seeds.

    Args:
        config: The config of the training, or its file, best the copy in the work dir.
        dump: A file ``non_finite/iter_N.pth``. That of a rank gives the gradients of this rank.
        device: Device to run on; results on another than that of the training differ by rounding.
        trust: Whether the dump may run code while it is read, for batches of further classes.

    Returns:
        The loss terms of each pass, and the gradients by name of the weight.

    Raises:
        UserError: if config or dump cannot be read, are damaged or do not fit, or for a training
            in fp16 without a GPU.
    """
    content = read_checkpoint(os.fspath(dump), trust=trust, classes=BATCH_CLASSES)
    if content.get('format') != _FORMAT:
        raise UserError(
            f'{dump} is no dump of non-finite values, or one of another version of vispropnet; '
            'expected a file non_finite/iter_N.pth.'
        )
    cfg = config if isinstance(config, Config) else load_config(config)
    with explain_config_errors(getattr(cfg, 'filename', None) or 'of the model'), quiet():
        model = MODELS.build(cfg.model)
    terms = []
    try:
        model.load_state_dict(content['state_dict'])
        acceleration = replace(Acceleration.from_config(content['acceleration']), compile=False)
        acceleration.check(device)
        acceleration.prepare(model.to(device).train())
        wrapper = acceleration.optim_wrapper(dict(optimizer=dict(type='SGD', lr=0.0)))
        precision = build_optim_wrapper(model, wrapper).optim_context
        for one, seed in zip(content['passes'], content['seeds'], strict=True):
            torch.manual_seed(seed)
            with precision(model):
                losses = model(**model.data_preprocessor(one['batch'], True), mode='loss')
            total, named = model.parse_losses(losses)
            # As accumulated gradients are averaged.
            (total / len(content['passes'])).backward()
            terms.append({name: float(value.detach()) for name, value in named.items()})
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(
            f'dump {dump} is damaged or not of the model of this config '
            f'({type(error).__name__}: {error}). Take the dump as training wrote it, with the '
            'config of its work dir.'
        ) from error
    weights = model.named_parameters()
    return terms, {name: one.grad for name, one in weights if one.grad is not None}
