"""A model for use, from a config and a checkpoint."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config

from vispropnet.config import explain_config_errors, load_config
from vispropnet.datasets.annotation_values import is_id
from vispropnet.datasets.configured_categories import fill_num_classes
from vispropnet.engine.acceleration import Acceleration, prepare_for_inference
from vispropnet.engine.checkpoints.legacy import other_conventions
from vispropnet.engine.checkpoints.reading import read_checkpoint, trained_classes
from vispropnet.engine.checkpoints.weights import load_weights
from vispropnet.engine.gpu_memory import explain_lack_of_memory
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.registry import MODELS


def init_model(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
    overrides: Sequence[str] = (),
    trust_checkpoint: bool = False,
    amp: str | None = None,
) -> VISDetector:
    """Builds the model of a config, loads its weights, and makes it ready to segment.

    Args:
        config: The config, or its file.
        checkpoint: The weights, a file or an address; None leaves them as they are initialised, to
            try things out.
        device: Where it runs, as ``'cuda:0'`` or ``'cpu'``; by default a GPU if there is one.
        overrides: ``key=value`` changes of a config file.
        trust_checkpoint: Whether the checkpoint may run code while it is read.
        amp: Mixed precision: ``'bf16'``, or ``'fp16'``, which needs a GPU. Layers compute in that
            type, and their weights are kept in it; the rest is in float32, as all is by default.

    Returns:
        The model, in evaluation mode, with ``cfg``, the config; ``classes``, the names of the
        categories, and ``category_ids``, their ids in the data it was trained on, as far as the
        checkpoint says.

    Raises:
        UserError: if config or checkpoint are missing or do not fit, there is no such device, or
            it cannot compute in that precision.
    """
    name = getattr(config, 'filename', None) if isinstance(config, Config) else config
    cfg = config if isinstance(config, Config) else load_config(config, overrides)
    device = _device(device)
    Acceleration(amp=amp).check(device)
    if cfg.get('model') is None:
        raise UserError(f'config {name} has no model.')
    content: Mapping[str, Any] = {}
    if checkpoint is not None:
        source = os.fspath(checkpoint)
        content = read_checkpoint(source, trust=trust_checkpoint)
    fill_num_classes(cfg, lambda: trained_classes(content))
    with explain_config_errors(name or 'of the model'), quiet():
        model = MODELS.build(cfg.model)
    if not isinstance(model, VISDetector):
        raise UserError(
            f'config {name}: model is a {type(model).__name__}, which is no VISDetector.'
        )
    if checkpoint is not None:
        load_weights(model, content, source)
        warning = other_conventions(content, cfg.model)
        if warning:
            warnings.warn(f'{source}: {warning}', stacklevel=2)
    model.cfg = cfg
    model.classes, model.category_ids = _categories(model, content)
    with explain_lack_of_memory():
        return prepare_for_inference(model.to(device), amp)


def _device(name: str | torch.device | None) -> torch.device:
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {name!r}.") from None
    count = torch.cuda.device_count()
    if device.type == 'cuda' and (device.index or 0) >= count:
        raise UserError(f'device {name}: this machine has {count or "no"} CUDA devices.')
    return device


def _categories(
    model: VISDetector, checkpoint: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and ids, numbered from 1 where the checkpoint does not have them."""
    if model.takes_objects:
        return ('object',), (1,)
    names = trained_classes(checkpoint) or ()
    recorded = (checkpoint.get('meta') or {}).get('dataset_meta')
    ids = recorded.get('category_ids') if isinstance(recorded, Mapping) else None
    count = max(model.category_counts().values(), default=0)
    if len(names) < count:
        names = tuple(f'category {number}' for number in range(1, count + 1))
    ids = tuple(ids) if isinstance(ids, (list, tuple)) and all(map(is_id, ids)) else ()
    return names, ids if len(ids) == len(names) else tuple(range(1, len(names) + 1))
