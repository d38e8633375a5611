"""Objects that the clips around a frame know of and the detector missed in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vispropnet.models.trackers.clip_tracks import ClipTracks
from vispropnet.ops.transfer import to_device, to_host


@dataclass(frozen=True)
class Missed:
    """K objects that a frame lacks.

    Args:
        ids: (K,) int64, rising, on the CPU.
        labels: (K,) int64 on the CPU: of each the one with the largest sum of scores.
        scores: (K,) mean scores, on the CPU.
        masks: (K, h, w) in [0, 1]: means of the masks that the clips have.
    """

    ids: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor


def find_missed(frame: int, present: Tensor, clips: Sequence[ClipTracks]) -> Missed:
    """Finds the objects of the clips around a frame that have no detection in it.

    Args:
        frame: Number of the frame.
        present: (N,) ids of its detections, on the CPU.
        clips: Settled clips with its own among them; those without the frame play no part.
    """
    around = [one for one in clips if one.first <= frame < one.end]
    ids = torch.cat([one.ids for one in around])
    columns = (torch.cat([getattr(one, name) for one in around]) for name in ('labels', 'scores'))
    labels, scores = to_host(*columns)
    rows = (~torch.isin(ids, present)).nonzero().flatten()
    missed, place = ids[rows].unique(return_inverse=True)
    weights = (torch.arange(len(missed))[:, None] == place).float()
    weights /= weights.sum(dim=1, keepdim=True)
    masks = torch.cat([one.at(frame) for one in around])
    device = masks.device
    masks = masks[to_device(rows, device)]
    means = (to_device(weights, device) @ masks.flatten(1)).view(-1, *masks.shape[1:])
    scores = scores[rows].float()
    chosen = _elected(place, labels[rows], scores, len(missed))
    return Missed(missed, chosen, weights @ scores, means)


def _elected(place: Tensor, labels: Tensor, scores: Tensor, count: int) -> Tensor:
    """Of each object the label with the largest sum of scores; of two the smaller one."""
    sums: list[dict[int, float]] = [defaultdict(float) for _ in range(count)]
    columns = place.tolist(), labels.tolist(), scores.tolist()
    for at, label, score in zip(*columns, strict=True):
        sums[at][label] += score
    chosen = [min(votes, key=lambda label: (-votes[label], label)) for votes in sums]
    return torch.tensor(chosen, dtype=torch.long)
