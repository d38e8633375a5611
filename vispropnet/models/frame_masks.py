"""The masks of a frame's instances, made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vispropnet.models.prop_heads.boxes import mask_boxes
from vispropnet.ops.mask_rle import RLE, bits_on_host, encode_windows
from vispropnet.ops.paste import Window, paste


@dataclass
class _Mask:
    """One mask: in its window, or still small, with the box and threshold to paste it with."""

    window: Window | None = None
    probabilities: Tensor | None = None
    box: Tensor | None = None
    threshold: float = 0.5

    @property
    def device(self) -> torch.device:
        return (self.probabilities if self.window is None else self.window.bits).device


class FrameMasks:
    """N masks of one frame, each held inside its box: as arrays or run-length encoded on demand.

    Masks that a detector found are pasted into their boxes the first time they are asked for, so
    those of instances that were dropped before never are. They can be indexed like a tensor's first
    axis, and stand in mmengine's ``InstanceData`` like any other field.

    Args:
        size: Height and width of the frame in pixels.
        masks: What :meth:`pasted` and :meth:`dense` make; use those.
    """

    def __init__(self, size: Sequence[int], masks: Sequence[_Mask] = ()) -> None:
        self.size = int(size[0]), int(size[1])
        self._masks = list(masks)

    @classmethod
    def pasted(
        cls, probabilities: Tensor, boxes: Tensor, size: Sequence[int], threshold: float
    ) -> FrameMasks:
        """Holds what a mask head gave.

        Args:
            probabilities: (N, M, M) in [0, 1], each over its box.
            boxes: (N, 4) x1, y1, x2, y2 in pixels of the frame.
            size: Height and width of the frame in pixels.
            threshold: A pixel belongs to the mask if its value is at least this; above 0.
        """
        pairs = zip(probabilities.detach(), boxes.detach(), strict=True)
        return cls(size, [_Mask(None, small, box, threshold) for small, box in pairs])

    @classmethod
    def of_logits(
        cls,
        logits: Tensor,
        labels: Tensor,
        boxes: Tensor,
        size: Sequence[int],
        threshold: float,
        class_agnostic: bool = False,
    ) -> FrameMasks:
        """Holds what a mask head gave before a channel was chosen.

        Args:
            logits: (N, categories, M, M), or with one channel for all categories.
            labels: (N,) whose channel is taken.
            boxes: As in :meth:`pasted`.
            size: As in :meth:`pasted`.
            threshold: As in :meth:`pasted`.
            class_agnostic: Whether there is one channel for all categories.
        """
        channels = torch.zeros_like(labels) if class_agnostic else labels
        chosen = logits[torch.arange(len(labels), device=labels.device), channels]
        return cls.pasted(chosen.sigmoid(), boxes, size, threshold)

    @classmethod
    def dense(cls, masks: Tensor | np.ndarray) -> FrameMasks:
        """Cuts masks of the frame's size down to what they cover.

        Args:
            masks: (N, H, W) bool.

        Raises:
            ValueError: if the masks are not bool or not three-dimensional.
        """
        if masks.ndim != 3 or masks.dtype not in (torch.bool, np.bool_):
            raise ValueError(
                f'masks must be bool of shape (N, H, W), got {masks.dtype} of shape '
                f'{tuple(masks.shape)}'
            )
        masks = torch.as_tensor(masks).detach()
        windows = []
        for mask, box in zip(masks, mask_boxes(masks).long().tolist(), strict=True):
            left, top, right, bottom = box
            bits = mask.new_zeros(right - left, bottom - top + 1)
            bits[:, :-1] = mask[top:bottom, left:right].t()
            windows.append(_Mask(Window(bits, left, top)))
        return cls(masks.shape[1:], windows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, H, W)."""
        return len(self), *self.size

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: Any) -> FrameMasks:
        """Selects by a slice, a whole number, (K,) whole numbers or (N,) bool of any container."""
        if isinstance(index, slice):
            return FrameMasks(self.size, self._masks[index])
        if isinstance(index, Tensor):
            index = index.cpu().numpy()
        index = np.asarray(index)
        # NumPy takes an empty list for one of floats.
        chosen = np.arange(len(self))[index.astype(int) if index.size == 0 else index]
        return FrameMasks(self.size, [self._masks[one] for one in np.atleast_1d(chosen)])

    @staticmethod
    def cat(masks: Sequence[FrameMasks]) -> FrameMasks:
        """Joins masks of one frame; a ValueError if their sizes differ."""
        sizes = {one.size for one in masks}
        if len(sizes) != 1:
            raise ValueError(f'masks of one frame must have one size, got {sorted(sizes)}')
        return FrameMasks(masks[0].size, [mask for one in masks for mask in one._masks])

    def rles(self) -> list[RLE]:
        """Run-length encodes the masks: N compressed RLEs ``{'size': [H, W], 'counts': str}``."""
        return encode_windows(self.windows(), self.size)

    def cpu(self) -> FrameMasks:
        """Pastes the masks and copies them to the CPU; what is there stays as it is."""
        if not self._masks or self._masks[0].device.type == 'cpu':
            return self
        windows = self.windows()
        moved = [
            replace(window, bits=torch.from_numpy(bits).view(window.bits.shape))
            for window, bits in zip(windows, bits_on_host(windows), strict=True)
        ]
        return FrameMasks(self.size, [_Mask(window) for window in moved])

    def to_tensor(self) -> Tensor:
        """Draws the masks at the frame's size: (N, H, W) bool, on the CPU."""
        drawn = torch.zeros(self.shape, dtype=torch.bool)
        for full, window in zip(drawn, self.cpu().windows(), strict=True):
            bottom, right = window.top + window.height, window.left + window.width
            full[window.top : bottom, window.left : right] = window.bits[:, :-1].t()
        return drawn

    def numpy(self) -> np.ndarray:
        """Draws the masks at the frame's size: (N, H, W) bool."""
        return self.to_tensor().numpy()

    def windows(self) -> list[Window]:
        """The masks in their windows; pastes those that are not yet."""
        waiting: dict[float, list[_Mask]] = {}
        for mask in self._masks:
            if mask.window is None:
                waiting.setdefault(mask.threshold, []).append(mask)
        for threshold, some in waiting.items():
            probabilities = torch.stack([mask.probabilities for mask in some])
            boxes = torch.stack([mask.box for mask in some])
            pasted = paste(probabilities, boxes, self.size, threshold)
            for mask, window in zip(some, pasted, strict=True):
                mask.window, mask.probabilities, mask.box = window, None, None
        return [mask.window for mask in self._masks]

    def __repr__(self) -> str:
        return f'FrameMasks{self.shape}'
