"""Loading weights into a model, with a report of what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vispropnet.engine.checkpoints.legacy import refuse_legacy_layout
from vispropnet.engine.checkpoints.load_report import LoadReport
from vispropnet.engine.checkpoints.reading import tensors_of
from vispropnet.errors import UserError
from vispropnet.text import first_of

# What weights can be; numbers of other kinds (complex, of 8 or fewer bits) would change or fail.
_NUMBERS = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8}
_NUMBERS |= {torch.int8, torch.int16, torch.int32, torch.int64}


def load_weights(
    model: nn.Module, checkpoint: Mapping[str, Any], source: str, strict: bool = True
) -> LoadReport:
    """Loads a checkpoint's weights into a model.

    Checkpoints of a plain mmdet detector fill the part that the model names (``plain_weights``);
    a leading ``module.`` is dropped. Files of the old layout have to be converted first: what fits
    of them would run with other conventions than it was trained with.

    Args:
        model: The model. It may have ``plain_weights`` and ``explain_missing``, as a
            :class:`~vispropnet.models.base.VISDetector` has.
        checkpoint: A state dict, or a dict with ``state_dict``, as ``read_checkpoint`` gives it.
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
    refuse_legacy_layout(weights, wanted, source)
    plain = getattr(model, 'plain_weights', '')
    weights = _below_plain_part(weights, wanted, plain)
    _refuse_faulty(weights, wanted, source)
    report = LoadReport(
        missing=[key for key in wanted if key not in weights],
        unexpected=[key for key in weights if key not in wanted],
        plain=plain,
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
        explain = getattr(model, 'explain_missing', None)
        reason = explain(report.missing) if fitting and explain else ''
        why = f': {reason}' if reason else ''
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
        raise UserError(
            f'checkpoint {source} holds numbers that are not finite (NaN or infinity), in '
            f'{first_of(sorted(broken), 5)}: its training had diverged. Take an earlier '
            'one.'
        )


def _is_finite(value: Tensor) -> bool:
    # Shapes without numbers (device meta) have none that could be wrong.
    if value.is_meta or not value.is_floating_point():
        return True
    return bool(torch.isfinite(value).all())


def _below_plain_part(
    weights: dict[str, Tensor], wanted: Mapping[str, Tensor], plain: str
) -> dict[str, Tensor]:
    """Puts the keys of a plain detector's file below the part of the model that they fill."""
    tops = [{key.split('.')[0] for key in keys} for keys in (weights, wanted)]
    if plain and not tops[0] & tops[1]:
        return {f'{plain}.{key}': value for key, value in weights.items()}
    return weights
