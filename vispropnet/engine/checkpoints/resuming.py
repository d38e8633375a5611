"""Finding the checkpoint that a training can be resumed from, and checking its state."""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from vispropnet.engine.checkpoints.reading import find_damage, read_checkpoint
from vispropnet.errors import UserError

# What the hooks write.
_NAMES = re.compile(r'(epoch|iter)_\d+\.pth|interrupted\.pth')
# What is taken over of ``meta``. mmengine would run ``config``, a text, as Python.
_META = frozenset(
    ('epoch', 'iter', 'batches_done', 'batch_size', 'world_size', 'validation_due')
    + ('seed', 'dataset_meta', 'cfg', 'experiment_name', 'time', 'mmengine_version')
)
# Of each weight, with its shape.
_LIKE_WEIGHTS = frozenset(
    ('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'exp_inf', 'momentum_buffer', 'square_avg')
    + ('grad_avg', 'acc_delta', 'sum', 'prev', 'step_size', 'ax')
)


def find_resumable(
    work_dir: str | os.PathLike, trust: bool = False
) -> tuple[Path | None, list[str]]:
    """Finds the checkpoint of a work dir with the most iterations that reads back whole.

    Args:
        work_dir: The folder.
        trust: Whether checkpoints may run code while they are read.

    Returns:
        The file, or None if there are no checkpoints; and of each newer one why it is skipped.

    Raises:
        UserError: if there are checkpoints, and none that training can be resumed from.
    """
    candidates, skipped = [], []
    for path in sorted(Path(work_dir).glob('*.pth')):
        if not _NAMES.fullmatch(path.name):
            continue
        changed = path.lstat().st_mtime_ns
        try:
            candidates.append((_iterations(path, trust), changed, path))
        except UserError as error:
            reason = str(error).removeprefix(f'checkpoint {path} ').rstrip('.')
            skipped.append((changed, f'{path.name}: {reason}'))
    reasons = []
    for _, changed, path in sorted(candidates, reverse=True):
        damage = find_damage(path)
        if damage is None:
            # How many iterations a damaged file has is not known: those written later are newer.
            return path, reasons + [text for when, text in skipped if when > changed]
        reasons.append(f'{path.name}: {damage}')
    reasons += [text for _, text in skipped]
    if reasons:
        listed = '\n  '.join(reasons)
        raise UserError(
            f'{work_dir}: training can be resumed from none of its checkpoints:\n  {listed}\n'
            'To start from the beginning, remove them or choose another --work-dir.'
        )
    return None, []


def _iterations(path: Path, trust: bool) -> int:
    """Iterations done, read without the tensors."""
    if not path.is_file():
        raise UserError('it is no regular file')
    # Files of old torch are no archives, and are read as a whole.
    content = read_checkpoint(path, trust=trust, mmap=zipfile.is_zipfile(path))
    return sound_state(content)['meta']['iter']


def sound_state(content: Mapping[str, Any]) -> dict[str, Any]:
    """Checks everything of a checkpoint, whoever wrote it, that needs no model to be checked.

    Args:
        content: What the file holds.

    Returns:
        The same, ``meta`` without what training does not take over.

    Raises:
        UserError: naming the first part that is missing or wrong, without the file.
    """
    for name in ('message_hub', 'meta', 'optimizer', 'state_dict'):
        if name not in content:
            raise UserError(f'it has no {name}, so training cannot be resumed from it')
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
    for name in ('log_scalars', 'runtime_info', 'resumed_keys'):
        found = hub.get(name)
        _require(isinstance(found, Mapping), f'message_hub.{name}', 'a dict', found)
    kept, place = hub['runtime_info'].get('keep_ckpt_ids', []), 'message_hub.runtime_info'
    sound = isinstance(kept, list) and all(map(_is_count, kept))
    _require(sound, f'{place}.keep_ckpt_ids', 'a list of whole numbers', kept)
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
    return type(value) is int and 0 <= value < 10**12


def _require(met: bool, place: str, wanted: Any, found: Any) -> None:
    if not met:
        raise UserError(f'{place} must be {wanted}, found {found!r:.60}')
