"""The pretended GPU: runs operators, and notes who waits for it and what it would refuse."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from tests.pretended_gpu.events import Event, listed, places
from tests.pretended_gpu.rules import Call, copy_between, refusals, waits
from tests.pretended_gpu.tensor import GpuTensor

aten = torch.ops.aten
HALF = (torch.float16, torch.bfloat16)
SLOW_IN_HALF = {aten.convolution.default, aten.convolution_backward.default}
SLOW_IN_HALF |= {aten.addmm.default, aten.mm.default, aten.bmm.default}


class DeviceMismatch(RuntimeError):
    """What a GPU would refuse."""


class PretendedGpu:
    """The device.

    Attributes:
        waits: Where the host waited for the device.
        hazards: Copies to the host that may be read too early.
        mismatches: What a GPU would have refused.
        operators: How often each ran on the device.
        made_bytes: Bytes of all results, freed or not: no peak, but more than nothing.
    """

    def __init__(self) -> None:
        self.operators: Counter[str] = Counter()
        self.made_bytes = 0
        self.in_backward = threading.local()
        self.clear()

    def clear(self) -> None:
        self.waits: list[Event] = []
        self.hazards: list[Event] = []
        self.mismatches: list[Event] = []

    def report(self) -> str:
        """Lists mismatches, hazards and waits by their places."""
        parts = []
        for name in ('mismatches', 'hazards', 'waits'):
            events = getattr(self, name)
            ours = sum(event.ours for event in events)
            parts.append(f'{name}: {len(events)}, of them ours: {ours}')
            parts += [listed(events)] if events else []
        return '\n'.join(parts)

    def wait(self, what: str) -> None:
        self.waits.append(self._event(what))

    def refuse(self, message: str, kind: type[Exception] = DeviceMismatch) -> None:
        """Notes what a GPU would refuse, and refuses it."""
        self.mismatches.append(self._event(message))
        raise kind(message)

    def run(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Runs an operator on inner tensors and wraps what is on the device of its result."""
        flat, spec = tree_flatten((args, kwargs))
        here = [one for one in flat if isinstance(one, GpuTensor)]
        device = kwargs.get('device')
        if not here and not is_cuda(device):
            return func(*args, **kwargs)
        there = [one for one in flat if isinstance(one, Tensor) and not isinstance(one, GpuTensor)]
        to_gpu = device is None or is_cuda(device)
        self._note(Call(func, args, kwargs, here, there, to_gpu))
        known = {id(one.inner): one for one in here} | {id(one): one for one in there}
        flat = [one.inner if isinstance(one, GpuTensor) else one for one in flat]
        args, kwargs = tree_unflatten(flat, spec)
        if device is not None:
            kwargs = {**kwargs, 'device': torch.device('cpu')}
        if kwargs.get('pin_memory'):
            kwargs = {**kwargs, 'pin_memory': False}
        result = compute(func, args, kwargs)
        if torch.Tag.inplace_view in func.tags and here:
            # The shape of the wrapper itself.
            with torch.utils._mode_utils.no_dispatch():
                func(here[0], *args[1:], **kwargs)
        return tree_map(functools.partial(self._wrapped, known, to_gpu), result)

    def _event(self, what: str) -> Event:
        return Event(what, places(), getattr(self.in_backward, 'on', False))

    def _note(self, call: Call) -> None:
        self.operators[call.name] += 1
        for message in refusals(call):
            self.refuse(message)
        for what in waits(call):
            self.wait(what)
        if (copied := copy_between(call)) is not None:
            self._note_copy(*copied)

    def _note_copy(self, source: Tensor, to_gpu: bool, later: bool) -> None:
        if to_gpu and not later:
            pinned = getattr(source, 'pretended_pinned', False)
            self.wait('copy to the GPU' + (' from pinned memory' if pinned else ''))
        elif not to_gpu and later:
            what = 'copy to the host in the background, perhaps read too early'
            self.hazards.append(self._event(what))
        elif not to_gpu:
            self.wait('copy to the host')

    def _wrapped(self, known: dict[int, Tensor], to_gpu: bool, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in known:
            one = known[id(value)]
            if isinstance(one, GpuTensor) and one.shape != value.shape:
                raise NotImplementedError('the pretended GPU cannot resize a tensor in place')
            return one
        if not to_gpu:
            return value
        self.made_bytes += value.numel() * value.element_size()
        return GpuTensor(value, self)


def is_cuda(device: Any) -> bool:
    """Tells names and objects of CUDA devices from others, and from None."""
    return device is not None and torch.device(device).type == 'cuda'


def compute(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Runs an operator on CPU tensors; in single precision where half is slow or missing there."""
    if func in SUBSTITUTES:
        return SUBSTITUTES[func](*args, **kwargs)
    if func not in SLOW_IN_HALF:
        try:
            return func(*args, **kwargs)
        except (RuntimeError, NotImplementedError) as error:
            if func._schema.is_mutable or 'not implemented' not in str(error):
                raise
    flat, spec = tree_flatten((args, kwargs))
    half = {one.dtype for one in flat if isinstance(one, Tensor) and one.dtype in HALF}
    if len(half) != 1:
        return func(*args, **kwargs)
    flat = [one.float() if isinstance(one, Tensor) and one.dtype in HALF else one for one in flat]
    args, kwargs = tree_unflatten(flat, spec)
    back = half.pop()
    return tree_map(
        lambda one: one.to(back) if isinstance(one, Tensor) and one.is_floating_point() else one,
        func(*args, **kwargs),
    )


def _batch_norm(input: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    result = aten.native_batch_norm(input, *rest)
    return *result, input.new_empty(0, dtype=torch.uint8)


def _batch_norm_backward(input: Tensor, gradient: Tensor, weight: Tensor, *rest: Any) -> tuple:
    *statistics, epsilon, _ = rest
    return aten.native_batch_norm_backward(
        gradient, input, weight, *statistics, True, epsilon, [True, True, True]
    )


def _softmax(operator: Callable) -> Callable:
    """Kernels of softmax that read half precision and give single precision are CUDA's alone."""
    return lambda input, dim, to_float: operator(input.float() if to_float else input, dim, False)


def _softmax_backward(operator: Callable) -> Callable:
    def backward(gradient: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
        return operator(gradient, output, dim, gradient.dtype).to(dtype)

    return backward


# What PyTorch chooses above kernels for a GPU, and the CPU has not.
SUBSTITUTES = {
    aten.cudnn_batch_norm.default: _batch_norm,
    aten.cudnn_batch_norm_backward.default: _batch_norm_backward,
}
for _operator in (aten._softmax.default, aten._log_softmax.default):
    SUBSTITUTES[_operator] = _softmax(_operator)
for _operator in (aten._softmax_backward_data.default, aten._log_softmax_backward_data.default):
    SUBSTITUTES[_operator] = _softmax_backward(_operator)
