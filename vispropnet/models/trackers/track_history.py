"""What is known of the tracks of a video, and of those that are missing in a frame."""

from __future__ import annotations

from dataclasses import dataclass

from mmengine.structures import InstanceData
from torch import Tensor

from vispropnet.ops.transfer import to_device


@dataclass(frozen=True)
class HistoryFrame:
    """Features of an earlier frame and the objects it showed, to propagate from.

    Args:
        features: (C, h, w) features of the propagation head.
        boxes: (N, 4) x1, y1, x2, y2 in pixels of the network's input.
        ids: (N,) int64 track ids, on the CPU.
        labels: (N,) int64 labels, where the features are.
        scores: (N,) scores, where the features are.
    """

    features: Tensor
    boxes: Tensor
    ids: Tensor
    labels: Tensor
    scores: Tensor


@dataclass(frozen=True)
class MissingTracks:
    """Tracks to recover, and where the history holds them.

    Args:
        ids: Their ids, rising.
        labels: Label of each, the one with the largest sum of scores.
        scores: Mean score of each.
        held: Per frame of the history (row in the frame, position in ``ids``) of each it holds.
    """

    ids: list[int]
    labels: list[int]
    scores: list[float]
    held: list[list[tuple[int, int]]]


@dataclass(frozen=True)
class CarriedTracks:
    """Tracks where propagation finds them in the current frame.

    Args:
        ids: (M,) int64, on the CPU.
        labels: (M,) int64, on the CPU.
        scores: (M,) mean scores, on the CPU.
        boxes: (M, 4) x1, y1, x2, y2 of the masks.
        masks: (M, H, W) bool; like the boxes in pixels of the original frame.
    """

    ids: Tensor
    labels: Tensor
    scores: Tensor
    boxes: Tensor
    masks: Tensor

    def __getitem__(self, kept: Tensor) -> CarriedTracks:
        """Selects by (M,) bool on the CPU."""
        there = to_device(kept.nonzero().flatten(), self.masks.device)
        columns = (column[kept] for column in (self.ids, self.labels, self.scores))
        return CarriedTracks(*columns, self.boxes[there], self.masks[there])

    def instances(self) -> InstanceData:
        """The tracks as instances of the frame, all on its device."""
        columns = self.ids, self.labels, self.scores
        ids, labels, scores = (to_device(column, self.masks.device) for column in columns)
        return InstanceData(
            ids=ids, labels=labels, scores=scores, bboxes=self.boxes, masks=self.masks
        )
