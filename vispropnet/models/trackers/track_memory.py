"""Memory of association."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrackMemory:
    """Latest embedding, box and label of every track of a video.

    A memory is never changed; each frame makes a new one. A track's position in the tensors may
    change from frame to frame, its id never does.

    Args:
        ids: (M,) int64 ids of the known tracks, on the CPU.
        embeddings: (M, C) latest embedding.
        boxes: (M, 4) latest box, x1, y1, x2, y2 in pixels of the network's input.
        labels: (M,) int64 latest label.
        last_seen: (M,) int64 on the CPU, the latest frame that showed the track, counted from 1.
        next_id: The id that the next new track gets.
        num_frames: Frames seen so far.
    """

    ids: Tensor
    embeddings: Tensor
    boxes: Tensor
    labels: Tensor
    last_seen: Tensor
    next_id: int = 0
    num_frames: int = 0

    @classmethod
    def empty(cls, device: torch.device | str = 'cpu') -> TrackMemory:
        """Makes the memory before the first frame.

        Args:
            device: Device of the model.
        """
        return cls(
            ids=torch.zeros(0, dtype=torch.long),
            embeddings=torch.zeros(0, 0, device=device),
            boxes=torch.zeros(0, 4, device=device),
            labels=torch.zeros(0, dtype=torch.long, device=device),
            last_seen=torch.zeros(0, dtype=torch.long),
        )
