"""Weights that ``init_cfg=dict(type='Pretrained', checkpoint=...)`` names for a part of a model."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.engine.checkpoints.weights import load_weights
from vispropnet.errors import UserError
from vispropnet.registry import WEIGHT_INITIALIZERS
from vispropnet.text import first_of


@WEIGHT_INITIALIZERS.register_module(name='Pretrained')
class PretrainedPart:
    """Loads what fits of a file, and reports what does not; mmengine's goes on without any.

    Files are checkpoints or plain state dicts, as of torchvision and timm. Weights may stand below
    a prefix in the file (``backbone.``, ``model.encoder.``) or in the module.

    Args:
        checkpoint: File, ``http(s)://`` address, or name with another scheme of mmengine
            (``torchvision://resnet50``).
        prefix: The prefix in the file; found by itself if not given.
        map_location: As in :func:`torch.load`.

    Attributes:
        trust: Whether files may run code while they are read; of all parts, set by the runner.
    """

    trust = False

    def __init__(
        self, checkpoint: str, prefix: str | None = None, map_location: Any = 'cpu'
    ) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location

    def __call__(self, module: nn.Module) -> None:
        """Loads the file into a module.

        Raises:
            UserError: if it cannot be read, or nothing of it fits.
        """
        name, wanted = type(module).__name__, module.state_dict()
        weights = dict(_tensors(self._read()))
        if self.prefix is None:
            found, inner = self._find_prefixes(weights, wanted)
        else:
            found, inner = self.prefix.rstrip('.') + '.' if self.prefix else '', ''
        below = {
            inner + key.removeprefix(found): value
            for key, value in weights.items()
            if key.startswith(found)
        }
        if not any(_fits(below, wanted, key) for key in _counting(wanted)):
            place = f' below {found}' if self.prefix else ''
            both = wanted.keys() & below.keys()
            shapes = [
                f'{key} {tuple(below[key].shape)}, {tuple(wanted[key].shape)} wanted'
                for key in sorted(both)
            ]
            why = f' (of another shape: {first_of(shapes, 3)})' if shapes else ''
            raise UserError(
                f'checkpoint {self.checkpoint}: nothing of it{place} fits {name}{why}.\n'
                f'  the file has {first_of(weights, 4) or "no tensors"}\n'
                f'  {name} has {first_of(wanted, 4)}\n'
                'Name a file of this network in init_cfg.checkpoint, with init_cfg.prefix the part '
                'of the file, or start without one: init_cfg=None.'
            )
        report = load_weights(module, below, self.checkpoint, strict=False)
        part = f' (its keys below {found})' if found else ''
        lacking = [key for key in report.missing if not key.endswith(_COUNTERS)]
        level = logging.WARNING if lacking or report.mismatched else logging.INFO
        print_log(f'Loaded {self.checkpoint}{part} into {name}: {report}', 'current', level)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'Pretrained: load from {self.checkpoint}')

    def _find_prefixes(
        self, weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
    ) -> tuple[str, str]:
        pairs = find_prefixes(weights, wanted) or [('', '')]
        if len(pairs) > 1:
            listed = first_of((repr(found) for found, _ in pairs), 6)
            raise UserError(
                f'checkpoint {self.checkpoint}: its keys below {listed} fit alike. Name one of '
                'them as init_cfg.prefix.'
            )
        return pairs[0]

    def _read(self) -> Mapping[str, Any]:
        if re.match(r'(?!https?:)[\w-]+://', self.checkpoint) is None:
            return read_checkpoint(self.checkpoint, self.map_location, self.trust)
        try:
            return CheckpointLoader.load_checkpoint(self.checkpoint, self.map_location)
        except (OSError, KeyError, RuntimeError) as error:
            raise UserError(
                f'checkpoint {self.checkpoint} cannot be fetched ({type(error).__name__}: '
                f'{error}). Name a file instead.'
            ) from None


@CheckpointLoader.register_scheme(prefixes=('', 'http://', 'https://'), force=True)
def load_from_file(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Reads a file for parts that load their weights by themselves, as mmdet's SwinTransformer.

    mmengine's loader would run code from files that hold some.

    Args:
        filename: File or ``http(s)://`` address.
        map_location: As in :func:`torch.load`.

    Returns:
        What it holds.

    Raises:
        UserError: if it cannot be read.
    """
    return read_checkpoint(filename, map_location or 'cpu', PretrainedPart.trust)


# Batch normalisation counts batches for nothing that is used here; old files do not have it.
_COUNTERS = 'num_batches_tracked'


def find_prefixes(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> list[tuple[str, str]]:
    """Finds below which prefixes the keys of a file and of a module agree.

    Args:
        weights: Tensors of the file.
        wanted: Those of the module.

    Returns:
        Pairs of a prefix in the file and one in the module, either may be '', below which most
        tensors fit; several if they are as good as each other. With a prefix, at least half of the
        module's tensors must fit: a few that happen to have a name and a shape in common are no
        match.
    """
    counts: dict[tuple[str, str], int] = defaultdict(int)
    inner = ['', *sorted({key.split('.')[0] + '.' for key in wanted if '.' in key})]
    for key in _counting(weights):
        parts = key.split('.')
        for cut in range(len(parts)):
            rest = '.'.join(parts[cut:])
            for prefix in inner:
                target = wanted.get(prefix + rest)
                if target is not None and target.shape == weights[key].shape:
                    counts[key[: len(key) - len(rest)], prefix] += 1
    half = sum(1 for _ in _counting(wanted)) / 2
    good = [pair for pair, count in counts.items() if pair == ('', '') or count >= half]
    best = max((counts[pair] for pair in good), default=0)
    good = [pair for pair in good if counts[pair] == best]
    return [('', '')] if ('', '') in good else good


def _counting(keys: Mapping[str, Tensor]) -> Iterator[str]:
    return (key for key in keys if not key.endswith(_COUNTERS))


def _fits(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], key: str) -> bool:
    return key in weights and weights[key].shape == wanted[key].shape


def _tensors(content: Any, place: str = '') -> Iterator[tuple[str, Tensor]]:
    """Gives the tensors in nested dicts by dotted key; of a checkpoint those of the model."""
    if isinstance(content, Tensor):
        yield place, content
    elif isinstance(content, Mapping):
        content = content.get('state_dict', content) if not place else content
        for key, value in content.items():
            # State of an optimizer is no weight.
            if place or 'optim' not in str(key):
                yield from _tensors(value, f'{place}.{key}' if place else str(key))
