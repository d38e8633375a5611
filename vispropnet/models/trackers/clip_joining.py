"""Joining clips into videos by the overlap of their masks (MaskProp, CVPR 2020, section 3.3).

Around each frame lies a clip, T frames to each side, in which the objects detected in its centre
have a mask in every frame. Clips that share frames are joined: an object gets the id of the earlier
ones that its masks overlap most.

Shapes: N objects of a clip; M of all earlier clips that it shares frames with; h x w cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vispropnet.models.trackers.association import assign
from vispropnet.models.trackers.clip_tracks import ClipTracks, clip_overlaps
from vispropnet.models.trackers.gap_filling import Missed, find_missed
from vispropnet.ops.transfer import to_device
from vispropnet.registry import TASK_UTILS

OVERLAPS = ('frames', 'space-time')


@dataclass(frozen=True)
class JoinMemory:
    """Memory of a video's clips; never changed, each frame makes a new one.

    Args:
        clips: Those that later ones share frames with, oldest first.
        next_id: The id that the next new object gets.
        num_frames: Frames seen so far.
        num_settled: Frames whose objects have their ids.
        num_answered: Frames that were given back.
    """

    clips: tuple[ClipTracks, ...] = ()
    next_id: int = 0
    num_frames: int = 0
    num_settled: int = 0
    num_answered: int = 0


@dataclass(frozen=True)
class JoinedFrame:
    """One frame's part of a video.

    Args:
        ids: (N,) int64 on the CPU, of its detections.
        missed: Objects without a detection in it; None if they are not filled in.
    """

    ids: Tensor
    missed: Missed | None = None


@TASK_UTILS.register_module()
class ClipJoiner:
    """Gives the detections of each frame ids by joining the clips around the frames.

    A clip is settled ``delay`` frames after its centre, with all masks that are known by then; its
    ids depend on earlier clips only. With a delay of T that is all of it, and so the result that
    the whole video would give. Memory is bounded by T.

    Args:
        reach: T. With 0, clips share no frames, and every detection is new.
        delay: Frames, from 0 to T; None for T.
        threshold: An object keeps an id if its mean overlap with the earlier ones is above.
        overlap: Overlap of two objects: ``'frames'``, the mean of the soft IoU over the frames that
            both clips have, but those in which neither shows (the paper); ``'space-time'``, the
            soft IoU of the volumes.
        score_weight: What the score of a detection adds to its overlaps where several detections
            want one id; 0 for the paper's sum. Overlaps alone decide whether an id is kept at all.
        fill_missed: Whether objects are filled in where the detector missed them: in frames within
            T of a detection, from the mean of the masks that the clips have there. It takes T
            further frames until a frame is given back.

    Raises:
        ValueError: for another value.
    """

    def __init__(
        self,
        reach: int = 6,
        delay: int | None = None,
        threshold: float = 0.25,
        overlap: str = 'frames',
        score_weight: float = 0.0,
        fill_missed: bool = False,
    ) -> None:
        if type(reach) is not int or reach < 0:
            raise ValueError(f'tracker: reach must be a whole number of 0 or more, got {reach!r}')
        if delay is not None and (type(delay) is not int or not 0 <= delay <= reach):
            raise ValueError(
                f'tracker: delay must be None or a whole number from 0 to reach={reach}, got '
                f'{delay!r}'
            )
        is_number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if not is_number or not 0 <= threshold <= 1:
            raise ValueError(f'tracker: threshold must be in [0, 1], got {threshold!r}')
        if overlap not in OVERLAPS:
            raise ValueError(
                f'tracker: overlap must be one of {", ".join(OVERLAPS)}, got {overlap!r}'
            )
        is_number = isinstance(score_weight, (int, float)) and not isinstance(score_weight, bool)
        if not is_number or not 0 <= score_weight < math.inf:
            raise ValueError(
                f'tracker: score_weight must be a number of 0 or more, got {score_weight!r}'
            )
        if fill_missed not in (True, False):
            raise ValueError(f'tracker: fill_missed must be True or False, got {fill_missed!r}')
        self.reach, self.delay = reach, reach if delay is None else delay
        self.threshold, self.overlap, self.fill_missed = threshold, overlap, fill_missed
        self.score_weight = score_weight

    @property
    def look_ahead(self) -> int:
        """Frames by which a frame is given back later than it came, at most."""
        return self.delay + self._filling

    @property
    def _filling(self) -> int:
        return self.reach if self.fill_missed else 0

    def take_in(
        self,
        memory: JoinMemory,
        carried: Sequence[Tensor],
        own: Sequence[Tensor],
        labels: Tensor,
        scores: Tensor,
    ) -> tuple[list[JoinedFrame], JoinMemory]:
        """Takes in the next frame.

        Args:
            memory: Before it.
            carried: Per each of the last T frames, as far as there are so many, oldest first, the
                masks (M, h, w) of its objects in this frame.
            own: The masks (N, h, w) of this frame's objects in each of these frames, and in this
                one.
            labels: (N,) of its objects.
            scores: (N,) of its objects.

        Returns:
            The frames that can be given back, in order, and the memory.
        """
        number = memory.num_frames
        recent = len(memory.clips) - len(carried)
        extended = (
            replace(clip, masks=(*clip.masks, masks))
            for clip, masks in zip(memory.clips[recent:], carried, strict=True)
        )
        clip = ClipTracks(number, number + 1 - len(own), tuple(own), labels, scores)
        clips = (*memory.clips[:recent], *extended, clip)
        memory = replace(memory, clips=clips, num_frames=number + 1)
        return self._advance(memory, memory.num_frames - self.delay)

    def finish(self, memory: JoinMemory) -> list[JoinedFrame]:
        """Gives the frames that are still due when a video has ended."""
        joined, memory = self._advance(memory, memory.num_frames)
        while memory.num_answered < memory.num_frames:
            frame, memory = self._answer(memory)
            joined.append(frame)
        return joined

    def _advance(self, memory: JoinMemory, settled: int) -> tuple[list[JoinedFrame], JoinMemory]:
        """Settles frames up to a number of them."""
        joined = []
        while memory.num_settled < settled:
            memory = self._settle(memory)
            if memory.num_settled - memory.num_answered > self._filling:
                frame, memory = self._answer(memory)
                joined.append(frame)
        return joined, memory

    def _settle(self, memory: JoinMemory) -> JoinMemory:
        """Gives the objects of the next frame their ids."""
        at = memory.num_settled - memory.clips[0].centre
        clip, earlier = memory.clips[at], memory.clips[:at]
        columns = torch.zeros(len(clip.labels), dtype=torch.long)
        earlier = [one for one in earlier if one.end > clip.first]
        known = torch.cat([one.ids for one in earlier] or [columns[:0]])
        if len(columns) > 0 and len(known) > 0:
            known, scores = joining_scores(clip_overlaps(clip, earlier, self.overlap), known)
            new = scores.new_full((len(scores), 1), self.threshold)
            scores = scores.where(scores > self.threshold, -torch.inf)
            if self.score_weight:
                scores = scores + self.score_weight * clip.scores.to(scores)[:, None]
            columns = assign(torch.cat([new, scores], dim=1), 'hungarian')
        is_new = columns == 0
        count = int(is_new.sum())
        ids = columns.new_empty(len(columns))
        ids[~is_new] = known[columns[~is_new] - 1]
        ids[is_new] = torch.arange(memory.next_id, memory.next_id + count)
        clips = (*earlier, replace(clip, ids=ids), *memory.clips[at + 1 :])
        return replace(
            memory,
            clips=clips,
            next_id=memory.next_id + count,
            num_settled=memory.num_settled + 1,
        )

    def _answer(self, memory: JoinMemory) -> tuple[JoinedFrame, JoinMemory]:
        """Gives the next frame back, and drops what is not needed any more."""
        number = memory.num_answered
        (clip,) = (one for one in memory.clips if one.centre == number)
        missed = None
        if self.fill_missed:
            others = [one for one in memory.clips if one.ids is not None]
            missed = find_missed(number, clip.ids, others)
        # The next clip to settle begins here, and so does what the next frame is filled from.
        first = memory.num_settled - self.reach
        clips = tuple(one.without_before(first) for one in memory.clips)
        return JoinedFrame(clip.ids, missed), replace(
            memory,
            clips=tuple(one for one in clips if one.masks),
            num_answered=number + 1,
        )


def joining_scores(overlaps: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean overlaps with the earlier objects of each id.

    Args:
        overlaps: (N, M).
        known: (M,) ids of the earlier objects, on the CPU.

    Returns:
        (Y,) ids, rising, on the CPU; (N, Y).
    """
    ids, place = known.unique(return_inverse=True)
    weights = torch.nn.functional.one_hot(place, len(ids)).to(overlaps.dtype)
    weights = to_device(weights / weights.sum(dim=0), overlaps.device)
    with torch.autocast(overlaps.device.type, enabled=False):
        return ids, overlaps @ weights
