"""Objects of the clip around a frame, and how much they overlap those of other clips.

Shapes: N objects of a clip; M of all earlier clips that it shares frames with; h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vispropnet.ops.soft_iou import soft_overlaps

# A mask without a cell of this value shows nothing.
SHOWN = 0.5


@dataclass(frozen=True)
class ClipTracks:
    """Objects detected in one frame, with their masks in the frames of the clip around it.

    Args:
        centre: Number of the frame, counted from 0.
        first: Number of the frame that the first masks are of.
        masks: Per frame from there on (N, h, w) in [0, 1].
        labels: (N,) int64.
        scores: (N,).
        ids: (N,) int64 on the CPU; None before the clip is settled.
    """

    centre: int
    first: int
    masks: tuple[Tensor, ...]
    labels: Tensor
    scores: Tensor
    ids: Tensor | None = None

    @property
    def end(self) -> int:
        """Number of the frame after the last."""
        return self.first + len(self.masks)

    def at(self, frame: int) -> Tensor:
        """Masks in a frame of the clip."""
        return self.masks[frame - self.first]

    def without_before(self, frame: int) -> ClipTracks:
        """The clip without the masks in frames before this one."""
        cut = max(frame - self.first, 0)
        return replace(self, first=self.first + cut, masks=self.masks[cut:]) if cut else self


def clip_overlaps(clip: ClipTracks, earlier: Sequence[ClipTracks], kind: str) -> Tensor:
    """Overlaps of a clip's objects with those of earlier clips.

    Args:
        clip: The clip.
        earlier: Those that it shares frames with, oldest first.
        kind: As ``overlap`` of :class:`ClipJoiner`.

    Returns:
        (N, M) in [0, 1]; 0 where in no shared frame both show.
    """
    counts = [len(one.labels) for one in earlier]
    common, total = (clip.at(clip.first).new_zeros(len(clip.labels), sum(counts)) for _ in range(2))
    for frame in range(clip.first, clip.end):
        there = [one for one in earlier if one.end > frame]
        if not there:
            break
        # Later clips reach further: those that have the frame are the last ones.
        start = sum(counts[: len(counts) - len(there)])
        masks, others = clip.at(frame), torch.cat([one.at(frame) for one in there])
        inner, outer = soft_overlaps(masks, others)
        if kind == 'frames':
            shown = _shows(masks)[:, None] | _shows(others)[None, :]
            inner, outer = shown * inner / outer.clamp(min=1e-12), shown
        common[:, start:] += inner
        total[:, start:] += outer
    return common / total.clamp(min=1e-12)


def _shows(masks: Tensor) -> Tensor:
    return masks.flatten(1).amax(dim=1) >= SHOWN
