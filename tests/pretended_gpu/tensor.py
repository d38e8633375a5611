"""Tensors that claim to be on the GPU."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

DEVICE = torch.device('cuda', 0)


class GpuTensor(Tensor):
    """A tensor that claims to be on the GPU; ``inner`` holds its numbers on the CPU."""

    inner: Tensor
    gpu: Any  # the PretendedGpu it is on
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor, gpu: Any) -> GpuTensor:
        places = dict(strides=inner.stride(), storage_offset=inner.storage_offset())
        kind = dict(dtype=inner.dtype, layout=inner.layout, device=DEVICE)
        made = Tensor._make_wrapper_subclass(cls, inner.size(), **places, **kind)
        made.inner, made.gpu = inner, gpu
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        leaves = tree_leaves((args, kwargs or {}))
        gpu = next(leaf.gpu for leaf in leaves if isinstance(leaf, GpuTensor))
        return gpu.run(func, args, kwargs or {})

    # Modules swap parameters of such classes in place, as they do with CUDA tensors.
    def __tensor_flatten__(self):
        return ['inner'], None

    @staticmethod
    def __tensor_unflatten__(inner_tensors, context, outer_size, outer_stride):
        raise NotImplementedError('not for torch.compile')

    def tolist(self) -> Any:
        """Gives Python numbers; PyTorch refuses to for subclasses."""
        self.gpu.wait('tolist')
        return self.inner.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refuses, as only CPU tensors share their memory with arrays."""
        if not force:
            message = f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first."
            self.gpu.refuse(message, TypeError)
        return self.detach().cpu().numpy()

    def __repr__(self, **options: Any) -> str:
        self.gpu.wait('repr')
        return f'{self.inner!r} on {DEVICE}'

    def __format__(self, spec: str) -> str:
        return self.item().__format__(spec) if self.dim() == 0 else object.__format__(self, spec)

    def __reduce_ex__(self, protocol: int) -> Any:
        # Comes back on the CPU, as with map_location.
        self.gpu.wait('pickle')
        return self.inner.detach().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict) -> Tensor:
        if id(self) in memo:
            return memo[id(self)]
        with torch.no_grad():
            made = self.detach().clone().requires_grad_(self.requires_grad)
            if self.grad is not None:
                made.grad = copy.deepcopy(self.grad, memo)
        if getattr(self, '_is_param', False):
            made._is_param = True
        return memo.setdefault(id(self), made)
