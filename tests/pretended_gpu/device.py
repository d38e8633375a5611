"""The pretended GPU: runs operators, and notes who waits for it and what it would refuse."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from tests.pretended_gpu.events import Event, listed, places
from tests.pretended_gpu.kernels import compute
from tests.pretended_gpu.rules import Call, copy_between, refusals, waits
from tests.pretended_gpu.tensor import GpuTensor

NOTED = ('mismatches', 'hazards', 'waits', 'transfers')


class DeviceMismatch(RuntimeError):
    """What a GPU would refuse."""


class PretendedGpu:
    """The device.

    Args:
        strict: Whether a mismatch is an error; otherwise it is noted, and the operator goes on.

    Attributes:
        waits: Where the host waited for the device.
        hazards: Copies to the host that may be read too early.
        mismatches: What a GPU would have refused.
        transfers: Copies that nobody waits for.
        operators: How often each ran on the device.
        made_bytes: Bytes of all results, freed or not: no peak, but more than nothing.
    """

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict
        self.operators: Counter[str] = Counter()
        self.made_bytes = 0
        self.in_backward = threading.local()
        self.clear()

    def clear(self) -> None:
        """Forgets what happened."""
        self.waits: list[Event] = []
        self.hazards: list[Event] = []
        self.mismatches: list[Event] = []
        self.transfers: list[Event] = []

    def report(self) -> str:
        """Lists mismatches, hazards, waits and transfers by their places."""
        parts = []
        for name in NOTED:
            events = getattr(self, name)
            ours = sum(event.ours for event in events)
            parts.append(f'{name}: {len(events)}, of them ours: {ours}')
            parts += [listed(events)] if events else []
        return '\n'.join(parts)

    def wait(self, what: str) -> None:
        """Notes that the host waits for the device."""
        self.waits.append(self._event(what))

    def note_mismatch(self, message: str) -> None:
        """Notes what a GPU would refuse."""
        self.mismatches.append(self._event(message))

    def refuse(self, message: str) -> None:
        """Notes what a GPU would refuse, and refuses it if ``strict``."""
        self.note_mismatch(message)
        if self.strict:
            raise DeviceMismatch(message)

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
        copied = copy_between(call)
        if copied is not None:
            self._note_copy(*copied)

    def _note_copy(self, source: Tensor, to_gpu: bool, later: bool) -> None:
        pinned = getattr(source, 'pretended_pinned', False)
        if to_gpu and later:
            kind = 'pinned' if pinned else 'pageable'
            self.transfers.append(self._event(f'{kind} copy to the GPU in the background'))
        elif to_gpu:
            self.wait('copy to the GPU' + (' from pinned memory' if pinned else ''))
        elif later:
            self.hazards.append(
                self._event('copy to the host in the background, perhaps read too early')
            )
        else:
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
