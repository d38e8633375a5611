"""What a GPU refuses and what the host waits for, of PyTorch 2.11 and torchvision 0.26."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.pretended_gpu.tensor import GpuTensor

aten = torch.ops.aten
# Copies and aliases, which may have two devices.
COPIES = {aten._to_copy.default, aten.copy_.default, aten.copy.default, aten._copy_from.default}
# ``self`` may be on the GPU with indices on the CPU.
INDEXING = {aten.index.Tensor, aten._unsafe_index.Tensor, aten._index_put_impl_.default}
INDEXING |= {aten.index_put_.default, aten.index_put.default, aten._unsafe_index_put.default}
# Take scalars on the CPU besides those that are tagged as pointwise.
TAKE_CPU_SCALARS = {aten.masked_fill.Tensor, aten.masked_fill_.Tensor, aten.fill.Tensor}
TAKE_CPU_SCALARS |= {aten.fill_.Tensor, aten.lift_fresh.default}
# CUDA kernels that wait for their result, and what for.
WAITS = {'aten::_local_scalar_dense': 'a number', 'aten::is_nonzero': 'a number'}
for _name in ('nonzero', 'masked_select', 'bincount', 'equal', 'histogram', 'multinomial'):
    WAITS[f'aten::{_name}'] = _name
for _name in ('_unique', '_unique2', 'unique_dim', 'unique_consecutive', 'unique_dim_consecutive'):
    WAITS[f'aten::{_name}'] = 'unique'
WAITS['torchvision::nms'] = 'NMS'
MATRIX_PRODUCTS = ('mm', 'bmm', 'addmm', 'baddbmm', 'addbmm', 'mv', 'addmv', 'dot', 'convolution')


@dataclass(frozen=True)
class Call:
    """A call of an operator, with its tensors on the GPU and on the CPU."""

    func: Any
    args: tuple
    kwargs: dict[str, Any]
    here: list[GpuTensor]
    there: list[Tensor]
    to_gpu: bool  # where results are

    @functools.cached_property
    def name(self) -> str:
        """As ``aten::index.Tensor``."""
        return self.func.name()


def refusals(call: Call) -> Iterator[str]:
    """Messages of what a GPU would refuse of a call."""
    if call.to_gpu and not _has_cuda_kernel(call.name):
        yield f'{call.name} has no CUDA kernel'
    generator = call.kwargs.get('generator')
    if call.to_gpu and generator is not None and generator.device.type != 'cuda':
        yield f"{call.name}: expected a 'cuda' device type for generator but found 'cpu'"
    if call.name.split('::')[1].split('.')[0].rstrip('_') in MATRIX_PRODUCTS and any(
        not one.is_floating_point() and not one.is_complex() for one in call.here
    ):
        yield f'{call.name} is not implemented for {call.here[0].dtype} on CUDA'
    if not call.here or call.func in COPIES:
        return
    wrong = [one for one in call.there if not _may_be_on_cpu(call, one)]
    if wrong:
        shapes = ', '.join(f'{str(one.dtype)[6:]} {list(one.shape)}' for one in wrong)
        yield (
            'Expected all tensors to be on the same device, but found at least two devices, '
            f'cuda:0 and cpu! ({call.name}; on the CPU: {shapes})'
        )


def waits(call: Call) -> Iterator[str]:
    """What the host waits for in a call."""
    base = call.name.split('.')[0]
    if call.here and base in WAITS:
        yield WAITS[base]
    elif call.here and base == 'aten::repeat_interleave' and 'Tensor' in call.name:
        if call.kwargs.get('output_size') is None:
            yield 'repeat_interleave without output_size'
    elif call.func in INDEXING and isinstance(call.args[0], GpuTensor):
        yield from _waits_of_indexing(call)


def copy_between(call: Call) -> tuple[Tensor, bool, bool] | None:
    """The copy between host and GPU that a call makes: its source, and where and how it goes.

    These are whether it goes to the GPU, and whether nobody waits for it; None for other calls, and
    for copies of nothing.
    """
    if call.func is aten.copy_.default:
        source, to_gpu = call.args[1], isinstance(call.args[0], GpuTensor)
        later = call.args[2] if len(call.args) > 2 else call.kwargs.get('non_blocking', False)
    elif call.func is aten._to_copy.default:
        source, to_gpu = call.args[0], call.to_gpu
        later = call.kwargs.get('non_blocking', False)
    else:
        return None
    if isinstance(source, GpuTensor) == to_gpu or source.numel() == 0:
        return None
    return source, to_gpu, later


def _waits_of_indexing(call: Call) -> Iterator[str]:
    indices = [one for one in call.args[1] if one is not None]
    are_masks = [one.dtype in (torch.bool, torch.uint8) for one in indices]
    if 'put' in call.name and all(are_masks):
        value = call.args[2]
        if value.numel() == 1 and not isinstance(value, GpuTensor):
            return  # masked_fill
    for index, is_mask in zip(indices, are_masks, strict=True):
        if not isinstance(index, GpuTensor):
            yield 'copy of an index on the CPU to the GPU'
        elif is_mask:
            yield 'boolean index'


def _may_be_on_cpu(call: Call, one: Tensor) -> bool:
    """Whether an operator with GPU tensors takes this CPU tensor."""
    if call.func in INDEXING:
        if not isinstance(call.args[0], GpuTensor):
            return False
        # An index, or the value.
        return any(one is index for index in call.args[1]) or one.dim() == 0
    takes_scalars = (
        torch.Tag.pointwise in call.func.tags
        or call.func in TAKE_CPU_SCALARS
        or any(kind in call.name for kind in ('_foreach_', '_fused_'))
    )
    return takes_scalars and one.dim() == 0 and not _is_written(call, one)


def _is_written(call: Call, one: Tensor) -> bool:
    for place, argument in enumerate(call.func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = call.args[place : place + 1], call.kwargs.get(argument.name)
            if any(one is other for other in tree_leaves(given)):
                return True
    return False


@functools.cache
def _has_cuda_kernel(name: str) -> bool:
    """Whether an operator runs on CUDA; true where PyTorch was built without."""
    if torch.version.cuda is None:
        return True
    return torch._C._dispatch_has_computed_kernel_for_dispatch_key(name, 'CUDA')
