"""A pretended GPU, to find device faults on a machine that has none.

::

    with pretended_gpu() as gpu:
        model.cuda()
        model.train_step(batch, wrapper)
    print(gpu.report())

Tests marked ``gpu`` run inside of it where there is no GPU (``tests/conftest.py``); a program does
by ``python -m tests.pretended_gpu.program tools/train.py CONFIG --amp bf16``.

Tensors "on the GPU" are a wrapper subclass whose C++ device is ``cuda:0`` and which has the
dispatch keys of CUDA (autocast, autograd), so all that PyTorch decides above its kernels is decided
as on a GPU; inside they hold real numbers on the CPU, on which the CPU's kernels run. Inside the
context ``.cuda()``, ``.to('cuda')``, ``device='cuda'`` and ``torch.cuda.*`` work.

Found are:

* tensors of two devices in one operator (:class:`DeviceMismatch`, an error as on a GPU);
* what only CPU tensors can do: ``.numpy()``, ``np.asarray``, pycocotools, a generator of the CPU;
* operators without a CUDA kernel in this build of PyTorch, matrix products of integers;
* waits of the host for the device (``gpu.waits``), with their place in the code: ``.item()``,
  ``bool()``, ``.cpu()``, ``nonzero``, boolean indexing, NMS, copies from pageable memory, and the
  like, as the CUDA kernels of PyTorch 2.11 and torchvision 0.26 have them;
* copies to the host that nobody waits for, whose numbers may be read too early (``gpu.hazards``).

Not found are numbers, speed, memory, kernels and their choice (fused attention is computed
plainly), streams, races, graphs, ``torch.compile``, NCCL, errors inside CUDA kernels such as an
index out of range. Hooks of tensors and nodes do not run in the backward pass. A CPU kernel stands
in for each CUDA kernel, so operators that take other arguments or types there are not told apart,
but for those above. Storages are empty: ``data_ptr()`` of a tensor on the GPU says nothing.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.pretended_gpu.device import DeviceMismatch, PretendedGpu
from tests.pretended_gpu.patches import patches, swap
from tests.pretended_gpu.tensor import GpuTensor

__all__ = ['DeviceMismatch', 'GpuTensor', 'PretendedGpu', 'pretended_gpu']


@contextlib.contextmanager
def pretended_gpu() -> Iterator[PretendedGpu]:
    """Pretends that there is a GPU, and yields it; a RuntimeError if there is one."""
    if torch.cuda.is_available():
        raise RuntimeError('this machine has a GPU: use that.')
    gpu = PretendedGpu()
    # PyTorch's own means for fake tensors on machines without a GPU.
    torch._C._ensureCUDADeviceGuardSet()
    lifts = torch._C._only_lift_cpu_tensors()
    with contextlib.ExitStack() as stack:
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifts)
        for owner, name, value in patches(gpu, lambda: _modes(gpu)):
            _patch(stack, owner, name, value)
        _register_for_foreach(stack)
        stack.enter_context(_modes(gpu))
        yield gpu


@contextlib.contextmanager
def _modes(gpu: PretendedGpu) -> Iterator[None]:
    """Modes belong to the thread that entered them."""
    with _Functions(gpu), _Operators(gpu):
        yield


def _patch(stack: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
    own = vars(owner)
    if name in own:
        stack.callback(setattr, owner, name, own[name])
    else:
        stack.callback(delattr, owner, name)
    setattr(owner, name, value)


def _register_for_foreach(stack: contextlib.ExitStack) -> None:
    # Optimisers and gradient clipping take all tensors at once on a GPU, if they know their class.
    for name in ('torch.utils._foreach_utils', 'torch.optim.optimizer'):
        kinds = getattr(importlib.import_module(name), '_foreach_supported_types', None)
        if kinds is not None and GpuTensor not in kinds:
            kinds.append(GpuTensor)
            stack.callback(kinds.remove, GpuTensor)


class _Operators(TorchDispatchMode):
    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not types and kwargs.get('device') is None:
            return func(*args, **kwargs)  # on the CPU; the same as below, but faster
        return self.gpu.run(func, args, kwargs)


class _Functions(TorchFunctionMode):
    """What cannot be known, or done, below autograd."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func, types, args=(), kwargs=None):
        handler = _FUNCTIONS.get(func)
        if handler is not None:
            return handler(self.gpu, func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def _pin_memory(gpu: PretendedGpu, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    if isinstance(args[0], GpuTensor):
        gpu.refuse("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
    if hasattr(args[0], 'pretended_pinned'):
        return args[0]
    pinned = args[0].clone()
    pinned.pretended_pinned = True
    return pinned


def _attention(gpu: PretendedGpu, func: Callable, args: tuple, kwargs: dict) -> Tensor:
    if not isinstance(args[0], GpuTensor):
        return func(*args, **kwargs)
    # Which kernel runs is asked of the device.
    if not all(isinstance(one, GpuTensor) for one in args[:3]):
        gpu.refuse('Expected query, key and value to be on the same device')
    return torch.ops.aten._scaled_dot_product_attention_math(*args, **kwargs)[0]


def _set_data(gpu: PretendedGpu, func: Callable, args: tuple, kwargs: dict) -> None:
    target, value = args
    if isinstance(target, GpuTensor) != isinstance(value, GpuTensor):
        value = value.detach().requires_grad_(target.requires_grad)
        if isinstance(target, torch.nn.Parameter):
            value = torch.nn.Parameter(value, target.requires_grad)
        swap(target, value)
        return
    func(*args, **kwargs)
    if isinstance(target, GpuTensor):
        target.inner = value.inner


_FUNCTIONS = {
    torch.Tensor.pin_memory: _pin_memory,
    torch.Tensor.is_pinned: lambda gpu, func, args, kwargs: hasattr(args[0], 'pretended_pinned'),
    torch.nn.functional.scaled_dot_product_attention: _attention,
    torch.Tensor.data.__set__: _set_data,
}
