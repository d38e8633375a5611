"""Scores and assignment of detections to tracks (MaskTrack R-CNN, section 4.3).

Shapes: D detections of the current frame, M tracks in memory. Column 0 of a (D, 1 + M) matrix
stands for "a new object", column 1 + m for track m.
"""

from __future__ import annotations

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor
from torch.nn import functional


def matching_scores(
    logits: Tensor,
    scores: Tensor,
    boxes: Tensor,
    labels: Tensor,
    track_boxes: Tensor,
    track_labels: Tensor,
    score_weight: float,
    iou_weight: float,
    label_weight: float,
) -> Tensor:
    """How well each detection goes with each track.

    ``log softmax(logits) + score_weight · log(score) + iou_weight · IoU + label_weight · [same
    label]``, where "new" has IoU 0 and the label term 1.

    Args:
        logits: (D, 1 + M) matching logits.
        scores: (D,) detection scores.
        boxes: (D, 4) x1, y1, x2, y2.
        labels: (D,).
        track_boxes: (M, 4) last box of each track.
        track_labels: (M,) last label of each track.
        score_weight: Weight of the log detection score.
        iou_weight: Weight of the IoU.
        label_weight: Weight of the label term.

    Returns:
        (D, 1 + M) float32.
    """
    total = logits.float().log_softmax(dim=1)
    total = total + score_weight * scores.float().log()[:, None]
    overlaps = bbox_overlaps(boxes.float(), track_boxes.float())
    total = total + iou_weight * functional.pad(overlaps, (1, 0))
    same = (labels[:, None] == track_labels[None, :]).float()
    return total + label_weight * functional.pad(same, (1, 0), value=1.0)


def assign_one_to_one(scores: Tensor) -> Tensor:
    """Gives each detection a track of its own, or none.

    The best entry of the matrix is settled first, then the best of what is left, and so on. A track
    is given once; a detection that lost it takes its next best or becomes new.

    Args:
        scores: (D, 1 + M), column 0 for "new".

    Returns:
        (D,) int64 on the CPU: column of each detection.
    """
    # One copy to the host; the loop runs over detections, at most 100 or so.
    remaining = scores.detach().cpu().numpy().astype(np.float64)
    # What is settled becomes -inf; a score of 0 (log: -inf) or NaN must not look like that.
    remaining = np.nan_to_num(remaining, nan=-1e30, neginf=-1e30)
    columns = np.zeros(len(remaining), dtype=np.int64)
    for _ in range(len(remaining)):
        row, column = np.unravel_index(np.argmax(remaining), remaining.shape)
        columns[row] = column
        remaining[row] = -np.inf
        if column > 0:
            remaining[:, column] = -np.inf
    return torch.from_numpy(columns)
