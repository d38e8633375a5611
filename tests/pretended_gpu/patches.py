"""What of PyTorch is replaced while there is a pretended GPU."""

from __future__ import annotations

import functools
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import mmengine.device.utils
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from tests.pretended_gpu.device import PretendedGpu, is_cuda
from tests.pretended_gpu.gradients import run_backward
from tests.pretended_gpu.tensor import DEVICE, GpuTensor

NAME = 'Pretended GPU'
PROPERTIES = SimpleNamespace(
    name=NAME, major=8, minor=0, total_memory=16 * 2**30, multi_processor_count=1
)
# In place of ``SDPAParams``, to judge which kernel takes them.
AttentionShapes = namedtuple(
    'AttentionShapes', 'query key value attn_mask dropout is_causal enable_gqa'
)


def patches(
    gpu: PretendedGpu, modes: Callable[[], AbstractContextManager]
) -> Iterator[tuple[Any, str, Any]]:
    """Objects, their attributes, and what these become; ``modes`` enters the modes in a thread."""
    counts = dict(is_available=True, device_count=1)
    cuda = dict(current_device=0, memory_allocated=0, memory_reserved=0, get_arch_list=['sm_80'])
    cuda |= dict(get_device_name=NAME, get_device_properties=PROPERTIES, is_bf16_supported=True)
    cuda |= dict(get_device_capability=(PROPERTIES.major, PROPERTIES.minor))
    cuda |= dict(mem_get_info=(PROPERTIES.total_memory,) * 2, is_current_stream_capturing=False)
    cuda |= dict(set_device=None, empty_cache=None, manual_seed=None, manual_seed_all=None)
    cuda |= dict(set_rng_state=None, _lazy_init=None)
    for name, value in (counts | cuda).items():
        yield torch.cuda, name, _giving(value)
    accelerator = dict(current_accelerator=DEVICE, current_device_index=0, set_device_index=None)
    for name, value in (counts | accelerator).items():
        yield torch.accelerator, name, _giving(value)
    for owner in (torch.cuda, torch.accelerator):
        yield owner, 'synchronize', lambda device=None: gpu.wait('synchronize')
    for name in ('max_memory_allocated', 'max_memory_reserved'):
        yield torch.cuda, name, lambda device=None: gpu.made_bytes
    yield torch.cuda, 'reset_peak_memory_stats', lambda device=None: setattr(gpu, 'made_bytes', 0)
    yield torch.cuda, 'get_rng_state', lambda device=None: torch.zeros(16, dtype=torch.uint8)
    yield torch.backends.cuda, 'can_use_flash_attention', _giving(False)
    yield torch.backends.cuda, 'can_use_efficient_attention', _fits_efficient
    yield torch.backends.cuda, 'SDPAParams', AttentionShapes
    yield torch.utils, 'swap_tensors', swap
    yield torch, 'load', functools.partial(_load, torch.load)
    yield threading.Thread, '_bootstrap_inner', _thread_with(modes)
    run = _backward_of(gpu, torch.autograd.graph._engine_run_backward)
    yield torch.autograd.graph, '_engine_run_backward', run
    yield torch.autograd, '_engine_run_backward', run
    yield mmengine.device.utils, 'DEVICE', 'cuda'


def swap(one: Tensor, other: Tensor) -> None:
    """As ``torch.utils.swap_tensors``, also where a graph holds one: that keeps the numbers."""
    for name in ('__class__', '__dict__'):
        value = getattr(one, name)
        setattr(one, name, getattr(other, name))
        setattr(other, name, value)
    torch._C._swap_tensor_impl(one, other)


def _giving(value: Any) -> Callable:
    return lambda *args, **kwargs: value


def _fits_efficient(params: AttentionShapes, debug: bool = False) -> bool:
    """As the checks of PyTorch 2.11 for compute capability 8.0, for dense tensors."""
    parts = (params.query, params.key, params.value)
    kinds = {one.dtype for one in parts}
    step = 4 if torch.float32 in kinds else 8
    return (
        len(kinds) == 1
        and kinds <= {torch.float16, torch.bfloat16, torch.float32}
        and all(one.dim() == 4 and one.stride(-1) == 1 for one in parts)
        and params.query.shape[-1] == params.key.shape[-1]
        and all(one.shape[-1] % step == 0 for one in parts)
    )


def _load(load: Callable, file: Any, map_location: Any = None, **options: Any) -> Any:
    """Reads onto the CPU, and copies to the GPU from there."""
    to_gpu = isinstance(map_location, (str, torch.device)) and is_cuda(map_location)
    content = load(file, map_location='cpu' if to_gpu else map_location, **options)
    if not to_gpu:
        return content
    return tree_map(lambda one: one.to(DEVICE) if isinstance(one, Tensor) else one, content)


def _backward_of(gpu: PretendedGpu, engine: Callable) -> Callable:
    def run(outputs: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        if not any(isinstance(one, GpuTensor) for one in outputs):
            return engine(outputs, *args, **kwargs)
        gpu.in_backward.on = True
        try:
            return run_backward(outputs, *args, **kwargs)
        finally:
            gpu.in_backward.on = False

    return run


def _thread_with(modes: Callable[[], AbstractContextManager]) -> Callable:
    begin = threading.Thread._bootstrap_inner

    def with_modes(self: threading.Thread) -> None:
        with modes():
            begin(self)

    return with_modes
