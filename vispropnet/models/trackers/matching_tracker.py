"""Frame-by-frame association by embedding, box, label and score."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from vispropnet.models.trackers.association import assign, matching_scores
from vispropnet.ops.transfer import to_device
from vispropnet.registry import TASK_UTILS

ON_CONFLICT = ('drop', 'next', 'new', 'hungarian')
CARRIED = ('missing', 'all')


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


@TASK_UTILS.register_module()
class MatchingTracker:
    """Gives each detection the id of a known track or a new one (MaskTrack R-CNN, section 4.3).

    Args:
        score_weight: Weight of the log detection score.
        iou_weight: Weight of the IoU with a track's last box.
        label_weight: Weight of having a track's last label.
        num_frames_retain: A track that has not been seen for this many frames is forgotten, so that
            memory stays bounded; None for never. No video of YouTube-VIS is as long as the default.
        on_conflict: What becomes of a detection whose best track goes to a better one, as for
            :func:`~vispropnet.models.trackers.association.assign`; ``'drop'`` measured best, see
            ``docs/methods/masktrack-rcnn.md``.
        conflict_margin: For ``'next'``: how much better than "new" the next best track must score.
        carried: Tracks that propagation carries to the frame before new ids are given:
            ``'missing'``, those that no detection is, or ``'all'``, which then stand in the scores
            of association like their last boxes.
        carried_weight: Weight of the IoU with where a track is carried to; 0 leaves association to
            detections and last boxes, as in the paper.
        carried_iou: Smaller overlaps than this do not count.

    Raises:
        ValueError: if ``num_frames_retain`` is neither None nor a positive integer, for another
            ``on_conflict`` or ``carried``, a margin that plays no part, a negative weight, or a
            least overlap outside [0, 1].
    """

    def __init__(
        self,
        score_weight: float = 1.0,
        iou_weight: float = 2.0,
        label_weight: float = 10.0,
        num_frames_retain: int | None = 300,
        on_conflict: str = 'drop',
        conflict_margin: float = 0.0,
        carried: str = 'missing',
        carried_weight: float = 0.0,
        carried_iou: float = 0.5,
    ) -> None:
        if on_conflict not in ON_CONFLICT:
            raise ValueError(
                f'tracker: on_conflict must be one of {", ".join(ON_CONFLICT)}, got {on_conflict!r}'
            )
        if isinstance(conflict_margin, bool) or not isinstance(conflict_margin, (int, float)):
            raise ValueError(f'tracker: conflict_margin must be a number, got {conflict_margin!r}')
        if conflict_margin and on_conflict != 'next':
            raise ValueError(
                f"tracker: conflict_margin is for on_conflict='next', got {conflict_margin!r} with "
                f'on_conflict={on_conflict!r}'
            )
        if carried not in CARRIED:
            raise ValueError(
                f'tracker: carried must be one of {", ".join(CARRIED)}, got {carried!r}'
            )
        for name, value, highest, sound in (
            ('carried_weight', carried_weight, math.inf, 'a number from 0'),
            ('carried_iou', carried_iou, 1, 'a number in [0, 1]'),
        ):
            if type(value) not in (int, float) or not 0 <= value <= highest or value == math.inf:
                raise ValueError(f'tracker: {name} must be {sound}, got {value!r}')
        if num_frames_retain is not None and (
            type(num_frames_retain) is not int or num_frames_retain < 1
        ):
            raise ValueError(
                'tracker: num_frames_retain must be a positive integer or None, got '
                f'{num_frames_retain!r}'
            )
        self.score_weight = score_weight
        self.iou_weight = iou_weight
        self.label_weight = label_weight
        self.num_frames_retain = num_frames_retain
        self.on_conflict = on_conflict
        self.conflict_margin = conflict_margin
        self.carried = carried
        self.carried_weight = carried_weight
        self.carried_iou = carried_iou

    def init_memory(self, device: torch.device | str = 'cpu') -> TrackMemory:
        """Makes the memory before the first frame of a video, on the device of the model."""
        return TrackMemory(
            ids=torch.zeros(0, dtype=torch.long),
            embeddings=torch.zeros(0, 0, device=device),
            boxes=torch.zeros(0, 4, device=device),
            labels=torch.zeros(0, dtype=torch.long, device=device),
            last_seen=torch.zeros(0, dtype=torch.long),
        )

    def associate(
        self,
        embeddings: Tensor,
        boxes: Tensor,
        labels: Tensor,
        scores: Tensor,
        memory: TrackMemory,
        match: Callable[[Tensor, Tensor], Tensor],
        carry: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, TrackMemory]:
        """Associates the detections of a frame.

        Tracks may be carried to the frame, and ``carried_weight · IoU`` is then added to the scores
        with them: of all detections with all tracks, or afterwards of detections that would be new
        or dropped with tracks that no detection is.

        Args:
            embeddings: (D, C).
            boxes: (D, 4) x1, y1, x2, y2 in pixels of the network's input.
            labels: (D,).
            scores: (D,) in (0, 1].
            memory: Before this frame.
            match: Gives (D, 1 + M) matching logits of embeddings and the memory's embeddings.
            carry: Gives, for the (M',) ids of tracks, on the CPU, the ids of those that propagation
                finds in the frame and their boxes; asked only if ``carried_weight`` is positive.

        Returns:
            (D,) int64 ids on the CPU, all different but for -1 of those that are dropped, and the
            memory after this frame.
        """
        memory = self._forget(replace(memory, num_frames=memory.num_frames + 1))
        if len(boxes) == 0:
            return memory.ids.new_zeros(0), memory
        columns = torch.zeros(len(boxes), dtype=torch.long)
        if len(memory.ids) > 0:
            table = matching_scores(
                match(embeddings, memory.embeddings),
                scores,
                boxes,
                labels,
                memory.boxes,
                memory.labels,
                self.score_weight,
                self.iou_weight,
                self.label_weight,
            )
            uses_carried = carry is not None and self.carried_weight > 0
            if uses_carried and self.carried == 'all':
                overlaps, positions = self._carried_overlaps(boxes, memory.ids, memory.ids, carry)
                # The table is nobody else's.
                table[:, to_device(1 + positions, table.device)] += self.carried_weight * overlaps
            columns = assign(table, self.on_conflict, self.conflict_margin)
            if uses_carried and self.carried == 'missing':
                columns = self._with_carried(columns, table, boxes, memory.ids, carry)
        kept = (columns >= 0).nonzero().flatten()
        there = to_device(kept, embeddings.device)
        ids = columns.new_full((len(columns),), -1)
        ids[kept], memory = self._take_in(
            columns[kept], embeddings[there], boxes[there], labels[there], memory
        )
        return ids, memory

    def _with_carried(
        self,
        columns: Tensor,
        table: Tensor,
        boxes: Tensor,
        ids: Tensor,
        carry: Callable[[Tensor], tuple[Tensor, Tensor]],
    ) -> Tensor:
        """Columns after detections without a track have been matched with carried ones."""
        open_rows = (columns <= 0).nonzero().flatten()
        left = torch.ones(len(ids), dtype=torch.bool)
        left[columns[columns > 0] - 1] = False
        if not len(open_rows) or not left.any():
            return columns
        rows = to_device(open_rows, table.device)
        overlaps, positions = self._carried_overlaps(boxes[rows], ids[left], ids, carry)
        scores = table[rows][:, to_device(1 + positions, table.device)]
        scores = (scores + self.carried_weight * overlaps).masked_fill(overlaps <= 0, -math.inf)
        table = torch.cat([table[rows, :1], scores], dim=1)
        chosen = assign(table, self.on_conflict, self.conflict_margin)
        columns = columns.clone()
        # Those that stay without one are new or dropped as before.
        columns[open_rows[chosen > 0]] = positions[chosen[chosen > 0] - 1] + 1
        return columns

    def _carried_overlaps(
        self,
        boxes: Tensor,
        asked: Tensor,
        ids: Tensor,
        carry: Callable[[Tensor], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor]:
        """IoUs (D, M') of boxes with tracks where they are carried to, 0 for too small ones.

        Also (M',) positions of these tracks in the memory, on the CPU.
        """
        found, places = carry(asked)
        positions = (ids[None] == found[:, None]).int().argmax(dim=1)
        overlaps = bbox_overlaps(boxes.float(), places.float())
        return overlaps * (overlaps >= self.carried_iou), positions

    @staticmethod
    def _take_in(
        columns: Tensor, embeddings: Tensor, boxes: Tensor, labels: Tensor, memory: TrackMemory
    ) -> tuple[Tensor, TrackMemory]:
        """Gives the detections of a frame their ids, and remembers them."""
        new = columns == 0
        num_new = int(new.sum())
        rows = columns - 1
        rows[new] = len(memory.ids) + torch.arange(num_new)
        last_seen = torch.cat([memory.last_seen, memory.last_seen.new_zeros(num_new)])
        last_seen[rows] = memory.num_frames
        ids = torch.cat([memory.ids, torch.arange(memory.next_id, memory.next_id + num_new)])
        there = to_device(rows, embeddings.device)
        memory = replace(
            memory,
            ids=ids,
            embeddings=_update(memory.embeddings, there, embeddings, len(ids)),
            boxes=_update(memory.boxes, there, boxes, len(ids)),
            labels=_update(memory.labels, there, labels, len(ids)),
            last_seen=last_seen,
            next_id=memory.next_id + num_new,
        )
        return ids[rows], memory

    def _forget(self, memory: TrackMemory) -> TrackMemory:
        """Drops the tracks that the last frames did not show."""
        if self.num_frames_retain is None:
            return memory
        unseen = memory.num_frames - 1 - memory.last_seen
        kept = (unseen < self.num_frames_retain).nonzero().flatten()
        if len(kept) == len(unseen):
            return memory
        ids, last_seen = memory.ids[kept], memory.last_seen[kept]
        kept = to_device(kept, memory.embeddings.device)
        return replace(
            memory,
            ids=ids,
            embeddings=memory.embeddings[kept],
            boxes=memory.boxes[kept],
            labels=memory.labels[kept],
            last_seen=last_seen,
        )


def _update(memory: Tensor, rows: Tensor, values: Tensor, length: int) -> Tensor:
    """Copies a memory tensor, grown to ``length`` rows, with ``values`` in ``rows``."""
    updated = values.new_zeros(length, *values.shape[1:])
    if len(memory):  # before the first detection its width is not known
        updated[: len(memory)] = memory
    updated[rows] = values
    return updated
