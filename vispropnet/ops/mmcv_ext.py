"""mmcv's compiled operators on kernels of torch and torchvision: those that our models use.

The signatures are those by which ``mmcv.ops`` calls its extension; results go into the tensors that
the caller allocated, as there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor

from vispropnet.ops.deformable_attention import ms_deform_attn_backward, ms_deform_attn_forward
from vispropnet.ops.mmcv_deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)

__all__ = [
    'get_compiler_version',
    'get_compiling_cuda_version',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'roi_align_backward',
    'roi_align_forward',
]


def get_compiler_version() -> str:
    """Returns what mmengine logs as mmcv's compiler."""
    return f'none (torchvision {torchvision.__version__} kernels through vispropnet.ops)'


def get_compiling_cuda_version() -> str:
    """Returns the CUDA version of the kernels in use, as mmengine logs it."""
    return torch.version.cuda or 'not available'


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: A box is dropped when its IoU with a kept one is larger than this.
        offset: 1 for the old convention in which a box is ``x2 - x1 + 1`` wide, else 0.

    Returns:
        (K,) int64 indices of the kept boxes, best score first.
    """
    if boxes.numel() == 0:
        return torch.zeros(0, dtype=torch.long, device=boxes.device)
    # In single precision before anything is added: half precision cannot tell 2048 from 2049.
    boxes = boxes.float()
    if offset:
        # Moving the far corner by the offset adds it to every width, height and overlap alike.
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    # torchvision's CPU kernel compares a single-precision IoU with a double threshold, by which an
    # IoU of 3/10 is larger than 0.3. Rounded alike, equal is equal, as on GPUs and in mmcv.
    threshold = torch.tensor(iou_threshold, dtype=torch.float32).item()
    return torch.ops.torchvision.nms(boxes, scores.float(), threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign with average pooling (Mask R-CNN, section 3), written to ``output``.

    Args:
        input: (N, C, H, W) features.
        rois: (R, 5) as image index, x1, y1, x2, y2 in image pixels.
        output: (R, C, aligned_height, aligned_width), overwritten.
        argmax_y: Used by max pooling only.
        argmax_x: Used by max pooling only.
        aligned_height: Bins from top to bottom.
        aligned_width: Bins from left to right.
        spatial_scale: Feature cells per image pixel.
        sampling_ratio: Sampling points per bin side; 0 for as many as the bin has cells.
        pool_mode: 1 for average; 0 (maximum) is not provided.
        aligned: Whether pixel centres lie at half coordinates.

    Raises:
        NotImplementedError: for max pooling.
    """
    _require_average(pool_mode)
    # The kernels take one floating type for both, and no half precision on CPUs.
    kind = torch.float64 if input.dtype == torch.float64 else torch.float32
    pooled = torch.ops.torchvision.roi_align(
        input.to(kind).contiguous(),
        rois.to(kind).contiguous(),
        spatial_scale,
        aligned_height,
        aligned_width,
        sampling_ratio,
        aligned,
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward` with respect to the features, added to ``grad_input``.

    ``grad_output`` (R, C, aligned_height, aligned_width) is the gradient of the pooled values,
    ``grad_input`` (N, C, H, W) holds zeros at the call; all else as in the forward pass.
    """
    _require_average(pool_mode)
    kind = torch.float64 if grad_output.dtype == torch.float64 else torch.float32
    grad_input += torch.ops.torchvision._roi_align_backward(
        grad_output.to(kind).contiguous(),
        rois.to(kind).contiguous(),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    ).to(grad_input.dtype)


def missing_operator(name: str) -> Callable[..., None]:
    """Gives a function in place of an operator, which raises ``NotImplementedError`` if called.

    Args:
        name: Name of the operator in ``mmcv._ext``.

    Raises:
        AttributeError: for names that Python itself asks modules for (``__path__`` and the like).
    """
    if name.startswith('__'):
        raise AttributeError(name)

    def operator(*args, **kwargs):
        raise NotImplementedError(
            f"mmcv's compiled operator {name!r} is not available: mmcv was installed without "
            'compiled operators, and vispropnet replaces only those that its own models use '
            f'({", ".join(__all__[2:])}). To get it, compile mmcv beside the installed torch '
            '(needs a C++ compiler, for GPUs the CUDA toolkit too, and 10 minutes or more): '
            "pip install 'setuptools>=80' wheel && pip install --no-build-isolation --no-deps "
            '--force-reinstall --no-cache-dir --no-binary onedl-mmcv onedl-mmcv. '
            'vispropnet then uses the compiled operators.'
        )

    operator.__name__ = name
    return operator


def _require_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' needs mmcv's compiled operators; "
            "vispropnet's stand-in has pool_mode='avg'."
        )
