"""Frame-by-frame association by embedding, box, label and score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from vispropnet.models.trackers.association import assign_one_to_one, matching_scores
from vispropnet.models.trackers.video_state import VideoState
from vispropnet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class MatchingTracker:
    """Gives each detection the id of a known track or a new one (MaskTrack R-CNN, section 4.3).

    Args:
        score_weight: Weight of the log detection score.
        iou_weight: Weight of the IoU with a track's last box.
        label_weight: Weight of having a track's last label.
    """

    def __init__(
        self, score_weight: float = 1.0, iou_weight: float = 2.0, label_weight: float = 10.0
    ) -> None:
        self.score_weight = score_weight
        self.iou_weight = iou_weight
        self.label_weight = label_weight

    def associate(
        self,
        embeddings: Tensor,
        boxes: Tensor,
        labels: Tensor,
        scores: Tensor,
        state: VideoState,
        match: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[Tensor, VideoState]:
        """Associates the detections of a frame.

        Args:
            embeddings: (D, C).
            boxes: (D, 4) x1, y1, x2, y2 in pixels of the network's input.
            labels: (D,).
            scores: (D,) in (0, 1].
            state: Memory before this frame.
            match: Gives (D, 1 + M) matching logits of embeddings and the memory's embeddings.

        Returns:
            (D,) int64 ids, all different, and the memory after this frame.
        """
        state = replace(state, num_frames=state.num_frames + 1)
        if len(boxes) == 0:
            return state.ids.new_zeros(0), state
        if len(state.ids) == 0:
            columns = torch.zeros(len(boxes), dtype=torch.long)
        else:
            columns = assign_one_to_one(
                matching_scores(
                    match(embeddings, state.embeddings),
                    scores,
                    boxes,
                    labels,
                    state.boxes,
                    state.labels,
                    self.score_weight,
                    self.iou_weight,
                    self.label_weight,
                )
            )
        new = columns == 0
        num_new, device = int(new.sum()), state.ids.device
        rows = columns - 1
        rows[new] = len(state.ids) + torch.arange(num_new)
        rows = rows.to(device)
        new_ids = torch.arange(state.next_id, state.next_id + num_new, device=device)
        ids = torch.cat([state.ids, new_ids])
        state = replace(
            state,
            ids=ids,
            embeddings=_update(state.embeddings, rows, embeddings, len(ids)),
            boxes=_update(state.boxes, rows, boxes, len(ids)),
            labels=_update(state.labels, rows, labels, len(ids)),
            next_id=state.next_id + num_new,
        )
        return ids[rows], state


def _update(memory: Tensor, rows: Tensor, values: Tensor, length: int) -> Tensor:
    """Copies a memory tensor, grown to ``length`` rows, with ``values`` in ``rows``."""
    updated = values.new_zeros(length, *values.shape[1:])
    if len(memory):  # before the first detection its width is not known
        updated[: len(memory)] = memory
    updated[rows] = values
    return updated
