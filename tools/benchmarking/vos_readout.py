"""Reading values of objects from a space-time memory, beside the form with the whole affinity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarking.measure import Variant, compare, largest_difference, report
from benchmarking.settings import VosReadoutSettings as Settings
from vispropnet.ops.space_time import read_out

BASELINE = 'the plain form: the whole affinity, all but the best of a column zero, times the values'
STRIDE = 16


def benchmark(settings: Settings) -> dict[str, Any]:
    """Measures, prints and returns the JSON object of the last line."""
    result = compare(make, settings, replace(settings, size=(64, 64)))
    difference = largest_difference(result.outputs['ours'], result.outputs['baseline'])
    return report('vos-readout', settings, result, difference, baseline=BASELINE)


def make(name: str, settings: Settings) -> Variant:
    """Builds ``'ours'`` or ``'baseline'``."""
    generator = torch.Generator().manual_seed(settings.seed)
    width, height = (side // STRIDE for side in settings.size)
    positions = width * height
    rows = settings.frames * positions
    sizes = ((rows, settings.keys), (rows, settings.objects * settings.channels))
    keys, values = (torch.randn(*size, generator=generator).to(settings.device) for size in sizes)
    query = torch.randn(positions, settings.keys, generator=generator).to(settings.device)
    read = read_ours if name == 'ours' else read_plainly
    return Variant(lambda _: read(keys, values, query, settings.top_k))


@torch.no_grad()
def read_ours(keys: Tensor, values: Tensor, query: Tensor, top_k: int) -> Tensor:
    """As the model does; arguments as of :func:`read_plainly`."""
    return read_out([(keys, values)], query, top_k)


@torch.no_grad()
def read_plainly(keys: Tensor, values: Tensor, query: Tensor, top_k: int) -> Tensor:
    """Reads by the definition, written plainly.

    Args:
        keys: (N, C) of the memory.
        values: (N, D).
        query: (Q, C) of the current frame.
        top_k: Positions of the memory that count.

    Returns:
        (Q, D).
    """
    affinity = 2 * keys @ query.t() - keys.square().sum(dim=1, keepdim=True)
    best, places = (affinity / keys.shape[1] ** 0.5).topk(top_k, dim=0)
    weights = torch.zeros_like(affinity).scatter_(0, places, best.softmax(dim=0))
    return (values.t() @ weights).t()
