"""Loading weights into a model, with a report of what does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vispropnet.engine.checkpoints.legacy import refuse_legacy_layout
from vispropnet.engine.checkpoints.reading import tensors_of
from vispropnet.errors import UserError
from vispropnet.text import first_of

# What weights can be; numbers of other kinds (complex, of 8 or fewer bits) would change or fail.
_NUMBERS = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8}
_NUMBERS |= {torch.int8, torch.int16, torch.int32, torch.int64}


@dataclass
class LoadReport:
    """Keys of a checkpoint and a model that fitted, and those that did not.

    Args:
        missing: Keys of the model that the checkpoint lacks.
        unexpected: Keys of the checkpoint that the model lacks.
        mismatched: (key, shape in the checkpoint, shape in the model).
        loaded: Number of keys that fitted.
        plain: Part that holds a plain detector, which is counted by its modules; '' for none.
    """

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple, tuple]] = field(default_factory=list)
    loaded: int = 0
    plain: str = ''

    @property
    def complete(self) -> bool:
        """True if everything fitted."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        shapes = [
            f'{key}: {has} in the file, {wanted} wanted' for key, has, wanted in self.mismatched
        ]
        lines = [f'{self.loaded} tensors fit']
        for title, keys in (
            ('missing in the checkpoint', self.missing),
            ('not in the model', self.unexpected),
            ('of another shape', shapes),
        ):
            if keys:
                lines.append(f'  {title} ({len(keys)}):\n    {self._listed(keys)}')
        return '\n'.join(lines)

    def _listed(self, keys: list[str], most: int = 12) -> str:
        if len(keys) > most:
            # Counts of whole modules.
            modules = Counter(self._module_of(key) for key in keys)
            keys = [f'{key}.* ({count})' for key, count in modules.items()]
        return first_of(keys, most, '\n    ')

    def _module_of(self, key: str) -> str:
        """First part of a key, or the first three within the plain detector."""
        parts = key.split(':')[0].split('.')
        return '.'.join(parts[: 3 if parts[0] == self.plain else 1])


def load_weights(
    model: nn.Module, checkpoint: Mapping[str, Any], source: str, strict: bool = True
) -> LoadReport:
    """Loads a checkpoint's weights into a model.

    Checkpoints of a plain mmdet detector fill the part that the model names (``plain_weights``);
    a leading ``module.`` is dropped. Files of the old layout have to be converted first: what fits
    of them would run with other conventions than it was trained with.

    Args:
        model: The model. It may have ``plain_weights``, ``explain_missing`` and ``explain_misfit``,
            as a :class:`~vispropnet.models.base.VISDetector` has.
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
    own_shapes = {key: tuple(value.shape) for key, value in weights.items()}
    wanted = model.state_dict()
    refuse_legacy_layout(weights, wanted, source)
    plain = getattr(model, 'plain_weights', '')
    tops = [{key.split('.')[0] for key in keys} for keys in (weights, wanted)]
    if plain and not tops[0] & tops[1]:
        weights = {f'{plain}.{key}': value for key, value in weights.items()}
    shared = sorted(wanted.keys() & weights.keys())
    for key in shared:
        fault = _fault(weights[key], wanted[key])
        if fault is not None:
            raise UserError(
                f'checkpoint {source}: {key} is {fault}; expected a dense tensor of plain numbers. '
                'Take a checkpoint of the training itself, not one made for another use.'
            )
    fitting = {key: weights[key] for key in shared if weights[key].shape == wanted[key].shape}
    report = LoadReport(
        missing=[key for key in wanted if key not in weights],
        unexpected=[key for key in weights if key not in wanted],
        mismatched=[
            (key, tuple(weights[key].shape), tuple(wanted[key].shape))
            for key in shared
            if key not in fitting
        ],
        loaded=len(fitting),
        plain=plain,
    )
    if not fitting or (strict and not report.complete):
        reason = _explanation(model, report, own_shapes)
        why = f': {reason}' if reason else ''
        raise UserError(
            f'checkpoint {source} does not fit the model of this config{why}:\n{report}'
        )
    # Shapes without numbers (device meta) have none that could be wrong.
    broken = [key for key, one in fitting.items() if not (one.is_meta or one.isfinite().all())]
    if broken:
        raise UserError(
            f'checkpoint {source} holds numbers that are not finite (NaN or infinity), in '
            f'{first_of(broken, 5)}: its training had diverged. Take an earlier one.'
        )
    model.load_state_dict(fitting, strict=False)
    return report


def _explanation(
    model: nn.Module, report: LoadReport, shapes: Mapping[str, tuple[int, ...]]
) -> str:
    """Why a checkpoint may not fit, as far as the model can tell."""
    missing = getattr(model, 'explain_missing', None)
    reason = missing(report.missing) if missing and report.loaded else ''
    misfit = getattr(model, 'explain_misfit', None)
    return reason or (misfit(shapes) if misfit else '')


def _fault(value: Tensor, wanted: Tensor) -> str | None:
    """Why a tensor cannot be loaded as it is."""
    if value.is_meta and not wanted.is_meta:
        return 'a shape without numbers (device meta)'
    if value.is_quantized:
        return 'quantized'
    if value.is_nested or value.layout != torch.strided:
        return 'nested' if value.is_nested else f'sparse ({value.layout})'
    return None if value.dtype in _NUMBERS | {wanted.dtype} else f'of type {value.dtype}'
