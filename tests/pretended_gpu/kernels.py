"""The CPU's kernels in place of those of CUDA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

aten = torch.ops.aten
HALF = (torch.float16, torch.bfloat16)
SLOW_IN_HALF = {
    aten.convolution.default,
    aten.convolution_backward.default,
    aten.addmm.default,
    aten.mm.default,
    aten.bmm.default,
}


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


def _batch_norm_backward(
    input: Tensor, gradient: Tensor, weight: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
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
} | {
    operator.default: make(operator.default)
    for operator, make in (
        (aten._softmax, _softmax),
        (aten._log_softmax, _softmax),
        (aten._softmax_backward_data, _softmax_backward),
        (aten._log_softmax_backward_data, _softmax_backward),
    )
}
