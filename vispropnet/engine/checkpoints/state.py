"""Checks that the state in a checkpoint can be resumed from, whoever wrote the file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from vispropnet.errors import UserError

# What is taken over of ``meta``. mmengine would run ``config``, a text, as Python.
_META = frozenset(
    ('epoch', 'iter', 'batches_done', 'batch_size', 'world_size', 'validation_due')
    + ('seed', 'dataset_meta', 'cfg', 'experiment_name', 'time', 'mmengine_version')
)
_HUB = ('log_scalars', 'runtime_info', 'resumed_keys')
# Of each weight, with its shape.
_LIKE_WEIGHTS = frozenset(
    ('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'exp_inf', 'momentum_buffer', 'square_avg')
    + ('grad_avg', 'acc_delta', 'sum', 'prev', 'step_size', 'ax')
)
_MOST = 10**12


def sound_state(content: Mapping[str, Any]) -> dict[str, Any]:
    """Checks everything of a checkpoint that needs no model to be checked.

    Args:
        content: What the file holds.

    Returns:
        The same, ``meta`` without what training does not take over.

    Raises:
        UserError: naming the first part that is missing or wrong, without the file.
    """
    missing = sorted({'state_dict', 'optimizer', 'meta', 'message_hub'} - content.keys())
    if missing:
        raise UserError(f'it has no {missing[0]}, so training cannot be resumed from it')
    for name in ('state_dict', 'optimizer', 'meta', 'message_hub'):
        _require(isinstance(content[name], Mapping), name, 'a dict', content[name])
    meta = {key: value for key, value in content['meta'].items() if key in _META}
    if not _is_count(meta.get('iter')):
        raise UserError('it does not say at which iteration it was written')
    _require(_is_count(meta.get('epoch')), 'meta.epoch', 'a number of epochs', meta.get('epoch'))
    if meta.get('batches_done'):
        for name in ('batches_done', 'batch_size', 'world_size'):
            _require(_is_count(meta.get(name)), f'meta.{name}', 'a whole number', meta.get(name))
    seed = meta.get('seed')
    _require(seed is None or (_is_count(seed) and seed < 2**32), 'meta.seed', 'a seed', seed)
    hub = content['message_hub']
    for name in _HUB:
        found = hub.get(name)
        _require(isinstance(found, Mapping), f'message_hub.{name}', 'a dict', found)
    kept = hub['runtime_info'].get('keep_ckpt_ids', [])
    _require(
        isinstance(kept, list) and all(map(_is_count, kept)),
        'message_hub.runtime_info.keep_ckpt_ids',
        'a list of whole numbers',
        kept,
    )
    return {**content, 'meta': meta}


def check_optimizer(optimizer: Optimizer, fresh: Sequence[Mapping[str, Any]]) -> None:
    """Checks an optimizer whose state was loaded, before its kernels run over it.

    Args:
        optimizer: The optimizer.
        fresh: Options of its groups before that.

    Raises:
        UserError: if an option is of another kind, or the state of a weight is of another shape or
            not finite.
    """
    for group, options in zip(optimizer.param_groups, fresh, strict=True):
        check_kinds('optimizer.param_groups', options, group)
    for weight, state in optimizer.state.items():
        _require(isinstance(state, Mapping), 'optimizer.state', 'a dict for each weight', state)
        for name, value in state.items():
            place = f'optimizer.state: {name}'
            if name in _LIKE_WEIGHTS and value is not None:
                found = tuple(value.shape) if isinstance(value, Tensor) else value
                _require(found == tuple(weight.shape), place, tuple(weight.shape), found)
            if isinstance(value, Tensor) and not torch.isfinite(value).all():
                raise UserError(f'{place} is not finite')


def check_kinds(place: str, fresh: Mapping[str, Any], loaded: Mapping[str, Any]) -> None:
    """Checks that loaded options are of the kinds that they were before.

    Args:
        place: What they belong to, for the message.
        fresh: The options as built.
        loaded: Those of the file.

    Raises:
        UserError: naming the first that is not.
    """
    for name, value in fresh.items():
        wanted = _kind(value)
        if name != 'params' and (name not in loaded or _kind(loaded[name]) != wanted):
            raise UserError(f'{place}: {name} must be {wanted}, found {loaded.get(name)!r:.60}')


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return 'a truth value'
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, (int, float)):
        return 'a number' if math.isfinite(value) else 'no finite number'
    if isinstance(value, (list, tuple)):
        return f'{len(value)} of ' + (', '.join(sorted({_kind(one) for one in value})) or 'nothing')
    return type(value).__name__


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _require(met: bool, place: str, wanted: Any, found: Any) -> None:
    if not met:
        raise UserError(f'{place} must be {wanted}, found {found!r:.60}')
