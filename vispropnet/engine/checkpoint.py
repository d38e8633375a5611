"""Reading checkpoints: as data, never as code, and with a report of what does not fit."""

from __future__ import annotations

import os
import pickle
import re
import stat
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.runner.checkpoint import get_torch_safe_globals
from torch import Tensor, nn

from vispropnet.datasets.findings import shown
from vispropnet.engine.load_report import LoadReport
from vispropnet.engine.whole_files import find_damage
from vispropnet.errors import UserError

# What weights can be; numbers of other kinds (complex, of 8 or fewer bits) would change or fail.
_NUMBERS = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8}
_NUMBERS |= {torch.int8, torch.int16, torch.int32, torch.int64}


def read_checkpoint(
    path: str | os.PathLike, map_location: Any = 'cpu', trust: bool = False, mmap: bool = False
) -> dict[str, Any]:
    """Reads a checkpoint file, local or by URL.

    Args:
        path: File, or an ``http(s)://`` address that is downloaded once into torch's cache.
        map_location: As in :func:`torch.load`.
        trust: Whether the file may run code while it is read (full unpickling).
        mmap: Whether tensors are read only when they are used. Their checksums are not compared
            then.

    Returns:
        What the file holds, a dict.

    Raises:
        UserError: if it is missing, damaged, cannot be downloaded, or would run code.
    """
    path = os.fspath(path)
    local = _download(path) if re.match(r'https?://', path) else path
    content = _load(local, path, map_location, trust, mmap)
    if not isinstance(content, Mapping):
        raise UserError(
            f'checkpoint {path}: expected a dict of tensors, found a {type(content).__name__}.'
        )
    meta = content.get('meta')
    if not isinstance(meta, (Mapping, type(None))):
        raise UserError(
            f'checkpoint {path}: meta must be a dict, found {shown(meta)}. Take a file that '
            'training wrote, or one with a state_dict alone.'
        )
    return dict(content)


def trained_classes(checkpoint: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Gives the categories that a checkpoint's model was trained with.

    Args:
        checkpoint: What :func:`read_checkpoint` gave.

    Returns:
        Their names, in the order of the labels; None if it has no sound list of them.
    """
    names: Any = checkpoint
    for key in ('meta', 'dataset_meta', 'classes'):
        names = names.get(key) if isinstance(names, Mapping) else None
    if not isinstance(names, (list, tuple)) or not all(isinstance(one, str) for one in names):
        return None
    return tuple(names)


def load_weights(
    model: nn.Module, checkpoint: Mapping[str, Any], source: str, strict: bool = True
) -> LoadReport:
    """Loads a checkpoint's weights into a model.

    Checkpoints of a plain mmdet detector (keys ``backbone.*``, ``roi_head.*`` ...) fill the model's
    ``detector``; a leading ``module.`` is dropped. Files of the old layout have to be converted
    first: what fits of them would run with other conventions than it was trained with.

    Args:
        model: The model.
        checkpoint: What :func:`read_checkpoint` gave: a state dict, or a dict with ``state_dict``.
        source: Where it comes from, for messages.
        strict: Whether everything has to fit. Otherwise what fits is loaded.

    Returns:
        What fitted and what did not.

    Raises:
        UserError: with the whole report if ``strict`` and something does not fit, or if nothing
            does; if the checkpoint has the old layout, tensors that cannot be weights, or numbers
            that are not finite.
    """
    weights = tensors_of(checkpoint)
    wanted = model.state_dict()
    if has_legacy_layout(weights) and not has_legacy_layout(wanted):
        raise UserError(
            f'checkpoint {source} has the layout of mmdetection 0.6 and 1 (keys bbox_head.* beside '
            'rpn_head.*), in which the released MaskTrack R-CNN and ObjProp files came. Convert it '
            'with "python tools/convert_checkpoint.py IN OUT", and use what that writes with a '
            'config whose name ends in _legacy.py, which has the conventions it was trained with.'
        )
    weights = _fill_detector(weights, wanted)
    _refuse_faulty(weights, wanted, source)
    report = LoadReport(
        missing=[key for key in wanted if key not in weights],
        unexpected=[key for key in weights if key not in wanted],
    )
    fitting = {}
    for key in wanted.keys() & weights.keys():
        if weights[key].shape == wanted[key].shape:
            fitting[key] = weights[key]
        else:
            report.mismatched.append((key, tuple(weights[key].shape), tuple(wanted[key].shape)))
    report.mismatched.sort()
    report.loaded = len(fitting)
    if not fitting or (strict and not report.complete):
        why = _likely(report, wanted)
        raise UserError(
            f'checkpoint {source} does not fit the model of this config{why}:\n{report}'
        )
    _refuse_not_finite(fitting, source)
    model.load_state_dict(fitting, strict=False)
    return report


def _refuse_faulty(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str
) -> None:
    for key in sorted(wanted.keys() & weights.keys()):
        fault = _fault(weights[key], wanted[key])
        if fault is not None:
            raise UserError(
                f'checkpoint {source}: {key} is {fault}; expected a dense tensor of plain numbers. '
                'Take a checkpoint of the training itself, not one made for another use.'
            )


def _fault(value: Tensor, wanted: Tensor) -> str | None:
    """Why a tensor cannot be loaded as it is."""
    if value.is_meta and not wanted.is_meta:
        return 'a shape without numbers (device meta)'
    if value.is_quantized:
        return 'quantized'
    if value.is_nested or value.layout != torch.strided:
        return 'nested' if value.is_nested else f'sparse ({value.layout})'
    return None if value.dtype in _NUMBERS | {wanted.dtype} else f'of type {value.dtype}'


def _refuse_not_finite(weights: Mapping[str, Tensor], source: str) -> None:
    broken = [key for key, value in weights.items() if not _is_finite(value)]
    if broken:
        more = f' and {len(broken) - 5} more' if len(broken) > 5 else ''
        raise UserError(
            f'checkpoint {source} holds numbers that are not finite (NaN or infinity), in '
            f'{", ".join(sorted(broken)[:5])}{more}: its training had diverged. Take an earlier '
            'one.'
        )


def _is_finite(value: Tensor) -> bool:
    # Shapes without numbers (device meta) have none that could be wrong.
    if value.is_meta or not value.is_floating_point():
        return True
    return bool(torch.isfinite(value).all())


def tensors_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Gives the weights of a checkpoint.

    Args:
        checkpoint: A state dict, or a dict with ``state_dict``.

    Returns:
        Its tensors, without the ``module.`` that distributed training puts before their keys.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    if not isinstance(weights, Mapping):
        return {}
    return {
        re.sub(r'^module\.', '', str(key)): value
        for key, value in weights.items()
        if isinstance(value, Tensor)
    }


def has_legacy_layout(keys: Iterable[str]) -> bool:
    """Whether keys are those of mmdetection 0.6 and 1, where the heads stand beside each other.

    Args:
        keys: Keys of a state dict.
    """
    return {'bbox_head', 'rpn_head'} <= {key.split('.')[0] for key in keys}


def _load(local: str, path: str, map_location: Any, trust: bool, mmap: bool) -> Any:
    size = _file_size(local, path)
    damage = None if mmap else find_damage(local)
    if damage is not None:
        raise UserError(
            f'checkpoint {path} is damaged: {damage} ({size} bytes). Fetch or train it again, or '
            'take an older one.'
        )
    try:
        with torch.serialization.safe_globals(get_torch_safe_globals()):
            content = torch.load(
                local, map_location=map_location, weights_only=not trust, mmap=mmap or None
            )
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        if found is None:
            raise UserError(
                f'checkpoint {path} cannot be read: the file is damaged or no checkpoint.'
            ) from None
        raise UserError(
            f'checkpoint {path} holds more than tensors and plain data ({found[1]}), and reading '
            'it would run code from the file. If you trust where it comes from, pass '
            '--trust-checkpoint.'
        ) from None
    except Exception as error:  # zip and storage errors of many kinds
        # Errors of other kinds that damage leads to say nothing: a key, an index, an end.
        told = isinstance(error, (OSError, RuntimeError, ImportError))
        why = f': {_first_line(error)}' if told else '; expected what torch.save wrote.'
        raise UserError(
            f'checkpoint {path} cannot be read ({size} bytes; truncated or damaged?){why}'
        ) from None
    return content


def _fill_detector(weights: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Puts the keys of a plain detector below the model's ``detector``."""
    parts = {key.split('.')[0] for key in wanted}
    if 'detector' in parts and not parts & {key.split('.')[0] for key in weights}:
        weights = {f'detector.{key}': value for key, value in weights.items()}
    return weights


def _likely(report: LoadReport, wanted: Mapping[str, Tensor]) -> str:
    """What is behind a checkpoint that does not fit, where that can be told."""
    head = {key for key in wanted if key.startswith('prop_head.')}
    if report.loaded and head and head <= set(report.missing):
        return (
            ': it has no propagation head (a MaskTrack R-CNN checkpoint?). Training ObjProp can '
            'start from it with --cfg-options load_from=FILE'
        )
    return ''


def _download(url: str) -> str:
    try:
        folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
        target = os.path.join(folder, os.path.basename(url))
        if not os.path.exists(target):
            os.makedirs(folder, exist_ok=True)
            torch.hub.download_url_to_file(url, target)
        return target
    except OSError as error:
        raise UserError(
            f'checkpoint {url} cannot be downloaded ({_first_line(error)}). Fetch it where there '
            'is a network and pass --cfg-options load_from=FILE, or train from scratch with '
            '--cfg-options load_from=None.'
        ) from None


def _file_size(local: str, path: str) -> int:
    """Bytes of a regular file; others are not opened, as pipes and devices may never end."""
    try:
        found = os.stat(local)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise UserError(f'checkpoint not found: {path}') from None
    except OSError as error:
        raise UserError(f'checkpoint {path} cannot be read: {error.strerror}.') from None
    if stat.S_ISDIR(found.st_mode):
        raise UserError(f'checkpoint {path} is a folder; expected a file, such as epoch_1.pth.')
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f'checkpoint {path} is no regular file; expected what torch.save wrote.')
    if not found.st_size:
        raise UserError(f'checkpoint {path} is empty. Fetch it again, or take an older one.')
    return found.st_size


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
