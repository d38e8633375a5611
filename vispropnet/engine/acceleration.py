"""Options that make training faster and leave recipe and checkpoints as they are."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from vispropnet.errors import UserError


@dataclass(frozen=True)
class Acceleration:
    """Options that are switched on; ``acceleration`` of a config is a dict of these.

    Args:
        amp: ``'bf16'`` or ``'fp16'``, in which layers compute; weights and losses stay float32.
        channels_last: Whether the model's convolutions keep the channels of a pixel together.
        compile: Whether the backbone is compiled, which takes a minute when training starts.

    Raises:
        UserError: for an unknown value.
    """

    amp: str | None = None
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.amp not in (None, 'bf16', 'fp16'):
            raise UserError(f"acceleration: amp must be 'bf16', 'fp16' or None, got {self.amp!r}.")
        for name in ('channels_last', 'compile'):
            if getattr(self, name) not in (True, False):
                raise UserError(
                    f'acceleration: {name} must be True or False, got {getattr(self, name)!r}.'
                )

    def __str__(self) -> str:
        named = [name if value is True else value for name, value in asdict(self).items() if value]
        return ' + '.join(one.replace('_', '-') for one in named) or 'none'

    @classmethod
    def from_config(cls, config: Any) -> Acceleration:
        """Reads ``acceleration`` of a config: a dict with any of the arguments, None for nothing.

        Raises:
            UserError: for anything else.
        """
        known = [field.name for field in fields(cls)]
        if config is not None and not isinstance(config, Mapping):
            raise UserError(
                f'acceleration must be a dict with any of {", ".join(known)}, got {config!r}.'
            )
        for name in config or {}:
            if name not in known:
                raise UserError(f'acceleration: unknown key {name!r}; known: {", ".join(known)}.')
        return cls(**(config or {}))

    def check(self, device: str | torch.device) -> None:
        """Raises a UserError if a device cannot do it; warns where bf16 is slower than float32."""
        on_cuda = torch.device(device).type == 'cuda'
        if self.amp == 'fp16' and not on_cuda:
            raise UserError(
                'mixed precision in fp16 (--amp, --amp fp16) needs a GPU, and this runs without '
                'one; --amp bf16 works on a CPU.'
            )
        # Older GPUs emulate it; is_bf16_supported() counts that, and asks the current device only.
        computes = on_cuda and torch.cuda.get_device_capability(device) >= (8, 0)
        if self.amp == 'bf16' and on_cuda and not computes:
            raise UserError(
                f'{torch.cuda.get_device_name(device)} cannot compute in bf16; use --amp fp16.'
            )
        if self.amp == 'bf16' and not on_cuda and not _cpu_computes_in_bf16():
            warnings.warn(
                'this CPU has no instructions for bf16 (avx512_bf16 or amx): --amp bf16 takes '
                'several times as long here as without.',
                stacklevel=3,
            )
        if self.compile:
            _check_compiler(on_cuda)

    def prepare(self, model: nn.Module) -> None:
        """Changes a model, not yet wrapped, in place; keys and shapes of its weights stay."""
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.compile:
            modules = model.named_modules()
            backbones = [one for name, one in modules if name.rpartition('.')[2] == 'backbone']
            if not backbones:
                raise UserError('acceleration: compile=True, but the model has no backbone.')
            for module in backbones:
                module.compile()

    def optim_wrapper(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Changes ``optim_wrapper`` of a config into one that trains in the chosen precision."""
        if self.amp == 'fp16':
            scale = dict(loss_scale='dynamic')
            return dict({**scale, **config}, type='AmpOptimWrapper', dtype='float16')
        if self.amp == 'bf16':
            scaling = ('loss_scale', 'dtype', 'use_fsdp')  # mmengine's AmpOptimWrapper's
            kept = {key: value for key, value in config.items() if key not in scaling}
            return dict(kept, type=BFloat16OptimWrapper)
        return dict(config)


class BFloat16OptimWrapper(OptimWrapper):
    """Trains with the layers in bfloat16, on CPUs as on GPUs; the arguments are ``OptimWrapper``'s.

    All else is in single precision (:func:`layers_in_bfloat16`). Losses need no scale, since
    bfloat16 reaches as far down as float32. (mmengine's ``AmpOptimWrapper`` wants a GPU.)
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context in which the losses are computed."""
        with super().optim_context(model), layers_in_bfloat16(model):
            yield


def _modules_in_float32(model: nn.Module) -> list[nn.Module]:
    """Modules that a model, wrapped or not, names as those whose outputs are cast to float32."""
    bare = model.module if is_model_wrapper(model) else model
    return getattr(bare, 'float32_outputs', list)()


@contextmanager
def layers_in_bfloat16(model: nn.Module) -> Iterator[None]:
    """Has convolutions, linear layers and matrix products compute in bfloat16.

    Outputs of the ``float32_outputs`` of the model, wrapped for several ranks or not, are cast to
    float32, because RoIAlign and the losses need it.
    """
    device = next(model.parameters()).device.type
    with ExitStack() as stack:
        for module in _modules_in_float32(model):
            stack.callback(module.register_forward_hook(_to_single).remove)
        stack.enter_context(torch.autocast(device, torch.bfloat16))
        yield


def _to_single(module: nn.Module, inputs: tuple, output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, (list, tuple)):
        return type(output)(_to_single(module, inputs, one) for one in output)
    return output


def _cpu_computes_in_bf16() -> bool:
    """Checks for instructions for bf16; CPUs other than x86 are assumed to have them."""
    if platform.machine().lower() not in ('x86_64', 'amd64'):
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _check_compiler(on_cuda: bool) -> None:
    """Checks for what torch.compile needs, which would fail only in the first step."""
    if on_cuda and importlib.util.find_spec('triton') is None:
        raise UserError('--compile on a GPU needs the package triton, which is not installed.')
    named, usual = ('CC', ('gcc', 'clang')) if on_cuda else ('CXX', ('g++',))
    if not on_cuda and sys.platform == 'darwin':
        usual = ('clang++',)
    wanted = [os.environ[named]] if os.environ.get(named) else usual
    if not any(shutil.which(one) for one in wanted):
        raise UserError(
            f'--compile needs a C{"" if on_cuda else "++"} compiler, and there is no '
            f'{" or ".join(wanted)}; install one, set {named}, or train without.'
        )
    header = os.path.join(sysconfig.get_path('include'), 'Python.h')
    if not os.path.isfile(header):
        raise UserError(
            f"--compile needs Python's header files, and there is no {header}; install them "
            '(on Debian: python3-dev), or train without.'
        )


def prepare_for_inference(model: nn.Module, amp: str | None = None) -> nn.Module:
    """Lays out weights for segmenting, in place.

    On a CPU, convolutions that keep the channels of a pixel together are faster; results differ by
    rounding. Weights of layers that compute in half precision are turned into it once, not for each
    frame: such a model is not to be trained or saved.

    Args:
        model: On the device where it will run, not wrapped for several ranks.
        amp: ``'bf16'`` or ``'fp16'``, in which layers compute; None for float32 throughout.

    Returns:
        The model, in evaluation mode.

    Raises:
        UserError: for another ``amp``, or one that the device cannot do.
    """
    device = next(model.parameters()).device
    Acceleration(amp=amp).check(device)
    if device.type == 'cpu':
        model.to(memory_format=torch.channels_last)
    if amp is not None:
        dtype = dict(bf16=torch.bfloat16, fp16=torch.float16)[amp]
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):  # as autocast does
                module.to(dtype)
        for module in _modules_in_float32(model):
            module.register_forward_hook(_to_single)
        model.inference_dtype = dtype
    return model.eval()


@contextmanager
def inference_precision(model: nn.Module) -> Iterator[None]:
    """Has a model compute in the precision that :func:`prepare_for_inference` chose."""
    dtype = getattr(model, 'inference_dtype', None)
    if dtype is None:
        yield
        return
    # Weights have the type already: there is nothing to be cached.
    device = next(model.parameters()).device.type
    with torch.autocast(device, dtype, cache_enabled=False):
        yield


def keep_freed_memory() -> bool:
    """Lets this process reuse the memory that it has freed, for training on a CPU.

    Without it glibc gets each tensor above 32 MiB from the system anew, page by page, and gives it
    back: with all frames of the clips in one batch that is a good part of a step.

    Returns:
        Whether the C library does so; other libraries than glibc are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    never_map, never_give_back = (-4, 0), (-1, 2**31 - 1)  # M_MMAP_MAX, M_TRIM_THRESHOLD
    return all(mallopt(*option) == 1 for option in (never_map, never_give_back))
