"""Scores and assignment of detections to tracks (MaskTrack R-CNN, section 4.3).

Shapes: D detections of the current frame, M tracks in memory. Column 0 of a (D, 1 + M) matrix
stands for "a new object", column 1 + m for track m.
"""

from __future__ import annotations

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps
from scipy.optimize import linear_sum_assignment
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
    """Scores of the match of each detection with each track.

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


def assign(scores: Tensor, on_conflict: str, margin: float = 0.0) -> Tensor:
    """Gives each detection a track of its own, or none.

    Several detections may score best with the same track. The one that scores most with it gets
    it; ``on_conflict`` says what becomes of the others.

    Args:
        scores: (D, 1 + M), column 0 for "new".
        on_conflict: ``'new'``: they become new tracks. ``'drop'``: they are dropped, as the code of
            the authors of MaskTrack R-CNN does. ``'next'``: they take their next best track that is
            left, if it scores better than "new" by a margin, or else become new. ``'hungarian'``:
            no conflict arises, since the sum of the scores of all detections is made largest; the
            scores of detections themselves play no part in that.
        margin: For ``'next'``.

    Returns:
        (D,) int64 on the CPU: column of each detection, -1 for one that is dropped.
    """
    # One copy to the host; the loops run over detections, at most 100 or so.
    table = scores.detach().cpu().numpy().astype(np.float64)
    # A score of 0 (log: -inf) or NaN is still a number that can be compared.
    table = np.nan_to_num(table, nan=-1e30, neginf=-1e30)
    if on_conflict == 'hungarian':
        columns = _largest_sum(table)
    elif on_conflict == 'next':
        columns = _next_best(table, margin)
    else:
        columns = _first_choice(table, -1 if on_conflict == 'drop' else 0)
    return torch.from_numpy(columns)


def _first_choice(table: np.ndarray, otherwise: int) -> np.ndarray:
    """Each detection's best column; ``otherwise`` where a better detection has it."""
    wanted = table.argmax(axis=1)
    # From the best detection on, the first that wants a track gets it.
    order = np.argsort(-table.max(axis=1), kind='stable')
    _, first = np.unique(wanted[order], return_index=True)
    columns = np.full(len(table), otherwise, dtype=np.int64)
    winners = order[first]
    columns[winners] = wanted[winners]
    columns[wanted == 0] = 0
    return columns


def _next_best(table: np.ndarray, margin: float) -> np.ndarray:
    """Settles the best entry of the table, then the best of what is left, and so on."""
    remaining = table.copy()
    columns = np.zeros(len(table), dtype=np.int64)
    wanted = table.argmax(axis=1)
    for _ in range(len(table)):
        row, column = np.unravel_index(np.argmax(remaining), remaining.shape)
        columns[row] = column
        remaining[row] = -np.inf
        if column > 0:
            remaining[:, column] = -np.inf
            # Those that lose it, and are not settled.
            remaining[wanted == column, 0] += margin
    return columns


def _largest_sum(table: np.ndarray) -> np.ndarray:
    """The assignment with the largest sum, in which any number may be new."""
    count = len(table)
    new = np.full((count, count), -1e30)
    np.fill_diagonal(new, table[:, 0])
    # What adds to all entries of a row, as the score of its detection, changes no assignment.
    rows, chosen = linear_sum_assignment(np.hstack([table[:, 1:], new]), maximize=True)
    columns = np.zeros(count, dtype=np.int64)
    columns[rows] = np.where(chosen < table.shape[1] - 1, chosen + 1, 0)
    return columns
