"""Gradients, node by node: PyTorch's engine wants a device with streams."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import GradientEdge, get_gradient_edge


def run_backward(
    outputs: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    keep_graph: bool,
    create_graph: bool,
    inputs: Sequence[Any] = (),
    allow_unreachable: bool = True,
    accumulate_grad: bool = False,
) -> tuple[Tensor | None, ...]:
    """Takes gradients as ``_engine_run_backward`` does, without threads, streams and hooks."""
    edges = [_edge(one) for one in outputs]
    wanted = {_edge(one): place for place, one in enumerate(inputs)}
    found: list[Tensor | None] = [None] * len(inputs)
    waiting = _dependencies([node for node, _ in edges])
    arrived: dict[Any, list[Tensor | None]] = {}
    ready: list[tuple[int, int, Any]] = []
    pushed = itertools.count()

    def give(node: Any, place: int, gradient: Tensor | None) -> None:
        some = arrived.setdefault(node, [None] * len(node._input_metadata))
        if gradient is not None:
            gradient = _validated(node, place, gradient)
            some[place] = gradient if some[place] is None else some[place] + gradient

    def release(node: Any) -> None:
        if not waiting[node]:
            heapq.heappush(ready, (-node._sequence_nr(), next(pushed), node))

    with torch.set_grad_enabled(create_graph):
        for (node, place), gradient in zip(edges, gradients, strict=True):
            give(node, place, gradient)
        for node in dict(edges):
            release(node)
        while ready:
            *_, node = heapq.heappop(ready)
            some = arrived.pop(node, [None] * len(node._input_metadata))
            for place, gradient in enumerate(some):
                if (node, place) in wanted:
                    found[wanted[node, place]] = gradient
            is_leaf = node.name() == 'torch::autograd::AccumulateGrad'
            if is_leaf and inputs and not (accumulate_grad and (node, 0) in wanted):
                continue
            following = [edge for edge in node.next_functions if edge[0] is not None]
            for (other, place), gradient in zip(following, _apply(node, some), strict=True):
                give(other, place, gradient)
                waiting[other] -= 1
                release(other)
    if inputs and not allow_unreachable and any(one is None for one in found):
        raise RuntimeError('one of the differentiated tensors does not require grad')
    return tuple(found)


def _edge(one: Any) -> tuple[Any, int]:
    edge = one if isinstance(one, GradientEdge) else get_gradient_edge(one)
    return edge.node, edge.output_nr


def _dependencies(roots: Sequence[Any]) -> dict[Any, int]:
    """From how many nodes that will run each node gets gradients."""
    counts = dict.fromkeys(roots, 0)
    stack = list(counts)
    while stack:
        for node, _ in stack.pop().next_functions:
            if node is None:
                continue
            if node not in counts:
                counts[node] = 0
                stack.append(node)
            counts[node] += 1
    return counts


def _validated(node: Any, place: int, gradient: Tensor) -> Tensor:
    """As ``validate_outputs`` of PyTorch's engine: shape, type and device."""
    wanted = node._input_metadata[place]
    if tuple(gradient.shape) != tuple(wanted.shape):
        gradient = gradient.sum_to_size(tuple(wanted.shape))
    if gradient.device != wanted.device and gradient.dim():
        told = f'{node.name()} got a gradient on {gradient.device}, expected {wanted.device}'
        raise RuntimeError(told)
    return gradient.to(wanted.device, wanted.dtype)


def _apply(node: Any, gradients: list[Tensor | None]) -> list[Tensor | None]:
    """Gradients for the edges of a node that lead anywhere."""
    if isinstance(node, BackwardCFunction):
        for place, kind in enumerate(node._input_metadata):
            if gradients[place] is None:
                shape = tuple(kind.shape)
                gradients[place] = torch.zeros(shape, dtype=kind.dtype, device=kind.device)
        result, leads = node.apply(*gradients), node.needs_input_grad
    else:
        result, leads = node(*gradients), [edge[0] is not None for edge in node.next_functions]
    result = result if isinstance(result, tuple) else (result,)
    return [one for one, needed in zip(result, leads, strict=False) if needed]
