"""Facts about mmdet's two-stage detectors, for the models that hold one."""

from __future__ import annotations

from torch import nn


def float32_outputs(detector: nn.Module) -> list[nn.Module]:
    """Modules of a detector whose outputs are cast to float32 under mixed precision.

    Args:
        detector: Any two-stage detector of mmdet.

    Returns:
        Neck, RPN head, box and mask heads, as far as there are any.
    """
    parts = [getattr(detector, name, None) for name in ('neck', 'rpn_head')]
    parts += [getattr(detector.roi_head, name, None) for name in ('bbox_head', 'mask_head')]
    modules = []
    for part in parts:
        # A cascade holds a list of heads, which is never called itself.
        modules += part if isinstance(part, nn.ModuleList) else [part]
    return [one for one in modules if one is not None]


def category_counts(head: nn.Module, name: str) -> dict[str, int]:
    """Number of categories of a head and of the parts within it.

    Args:
        head: The head; parts that tell categories apart have ``num_classes``.
        name: Its dotted name.

    Returns:
        By dotted name, without parts that treat all categories alike (``class_agnostic``).
    """
    return {
        f'{name}.{below}' if below else name: part.num_classes
        for below, part in head.named_modules()
        if isinstance(getattr(part, 'num_classes', None), int)
        and not getattr(part, 'class_agnostic', False)
    }
