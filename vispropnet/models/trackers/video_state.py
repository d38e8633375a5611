"""What is remembered of a video between frames. Nothing of it lives in a module."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vispropnet.errors import UserError


@dataclass(frozen=True)
class HistoryFrame:
    """What propagation needs of an earlier frame: its features and the objects it showed.

    Args:
        features: (C, h, w) features of the propagation head.
        boxes: (N, 4) x1, y1, x2, y2 in pixels of the network's input.
        ids: (N,) int64 track ids, on the CPU.
        labels: (N,) int64 labels, on the CPU.
        scores: (N,) scores, on the CPU.
    """

    features: Tensor
    boxes: Tensor
    ids: Tensor
    labels: Tensor
    scores: Tensor


@dataclass(frozen=True)
class VideoState:
    """Memory of one video: the latest of every track, and what some models need besides.

    A state is never changed; each frame makes a new one. A track's position in the tensors may
    change from frame to frame, its id never does.

    Args:
        ids: (M,) int64 ids of the known tracks.
        embeddings: (M, C) latest embedding.
        boxes: (M, 4) latest box, x1, y1, x2, y2 in pixels of the network's input.
        labels: (M,) int64 latest label.
        last_seen: (M,) int64 on the CPU, the latest frame that showed the track, counted from 1.
        next_id: The id that the next new track gets.
        num_frames: Frames seen so far.
        frame_size: Height and width of the frames as they come; None before the first.
        previous: Per level (1, C, H, W) features of the frame before, for an attention neck.
        history: The last frames, oldest first, for propagation.
    """

    ids: Tensor
    embeddings: Tensor
    boxes: Tensor
    labels: Tensor
    last_seen: Tensor
    next_id: int = 0
    num_frames: int = 0
    frame_size: tuple[int, int] | None = None
    previous: tuple[Tensor, ...] | None = None
    history: tuple[HistoryFrame, ...] = ()

    @classmethod
    def empty(cls, device: torch.device | str = 'cpu') -> VideoState:
        """Makes the state before the first frame.

        Args:
            device: Where the model runs.
        """
        return cls(
            ids=torch.zeros(0, dtype=torch.long, device=device),
            embeddings=torch.zeros(0, 0, device=device),
            boxes=torch.zeros(0, 4, device=device),
            labels=torch.zeros(0, dtype=torch.long, device=device),
            last_seen=torch.zeros(0, dtype=torch.long),
        )

    def for_frame(self, metainfo: dict) -> VideoState:
        """Takes in the size of the next frame.

        Args:
            metainfo: The frame's, with ``ori_shape``.

        Returns:
            The state to go on with.

        Raises:
            UserError: if the frames before had another size: boxes and features of one size say
                nothing about frames of another.
        """
        size = tuple(int(side) for side in metainfo['ori_shape'][:2])
        if self.frame_size is not None and size != self.frame_size:
            place = f'frame {metainfo.get("frame_id", self.num_frames)}'
            if 'video_id' in metainfo:
                place += f' of video {metainfo["video_id"]}'
            raise UserError(
                f'{place} has {size[1]}x{size[0]} pixels, the frames before it have '
                f'{self.frame_size[1]}x{self.frame_size[0]}. The frames of a video must have one '
                'size: scale them, or begin a new video (a new state) here.'
            )
        return replace(self, frame_size=size)
