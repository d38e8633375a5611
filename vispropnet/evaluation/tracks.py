"""From instances found frame by frame to the tracks of one video, as the result file has them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_utils

from vispropnet.datasets.rle import RLE


def encode_masks(masks: torch.Tensor | np.ndarray) -> list[RLE]:
    """Run-length encodes the masks of one frame in one call.

    Args:
        masks: (N, H, W) bool, on any device. N may be 0.

    Returns:
        N compressed RLEs ``{'size': [H, W], 'counts': str}``.

    Raises:
        ValueError: if the masks are not bool or not three-dimensional.
    """
    if masks.ndim != 3 or masks.dtype not in (torch.bool, np.bool_):
        raise ValueError(
            f'masks must be bool of shape (N, H, W), got {masks.dtype} of shape '
            f'{tuple(masks.shape)}'
        )
    if masks.shape[0] == 0:
        return []
    if isinstance(masks, torch.Tensor):
        # Transposed where it lies, so that a GPU does the one copy that the column order needs.
        columns = masks.detach().transpose(1, 2).contiguous().view(torch.uint8).cpu().numpy()
    else:
        columns = np.ascontiguousarray(masks.transpose(0, 2, 1)).view(np.uint8)
    rles = mask_utils.encode(columns.transpose(2, 1, 0))
    return [
        {'size': [int(side) for side in rle['size']], 'counts': rle['counts'].decode('ascii')}
        for rle in rles
    ]


class _Track:
    """What is kept of one track: masks as RLE by frame, scores by label, propagated frames."""

    __slots__ = ('propagated', 'rles', 'scores')

    def __init__(self) -> None:
        self.rles: dict[int, RLE] = {}
        self.scores: dict[int, list[float]] = defaultdict(list)
        self.propagated: set[int] = set()

    def label(self) -> int:
        """The label with the largest sum of scores; the smaller one of two that are equal."""
        return min(self.scores, key=lambda label: (-math.fsum(self.scores[label]), label))

    def score(self) -> float:
        """The mean score over the frames that the track was detected in."""
        scores = [score for some in self.scores.values() for score in some]
        return math.fsum(scores) / len(scores)


class TrackAccumulator:
    """Gathers the instances of one video, frame by frame, into tracks.

    Masks are held run-length encoded: a few hundred bytes each, whatever the size of the video.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = defaultdict(_Track)

    def __len__(self) -> int:
        return len(self._tracks)

    def add_frame(
        self,
        frame_id: int,
        ids: Sequence[int] | torch.Tensor,
        labels: Sequence[int] | torch.Tensor,
        scores: Sequence[float] | torch.Tensor,
        rles: Sequence[RLE],
        propagated: Sequence[bool] | torch.Tensor | None = None,
    ) -> None:
        """Adds the instances of one frame.

        Args:
            frame_id: Position of the frame in the video, from 0.
            ids: (N,) track id of each instance, none twice.
            labels: (N,) label index of each.
            scores: (N,) score of each.
            rles: N compressed RLEs, as :func:`encode_masks` gives them.
            propagated: (N,) which of them were carried over from other frames instead of being
                detected; None for none.
        """
        frame_id = int(frame_id)
        ids, labels, scores = _to_list(ids), _to_list(labels), _to_list(scores)
        assert len(ids) == len(labels) == len(scores) == len(rles), (
            f'frame {frame_id}: {len(ids)} ids, {len(labels)} labels, {len(scores)} scores and '
            f'{len(rles)} masks must be equally many'
        )
        carried = [False] * len(ids) if propagated is None else _to_list(propagated)
        for track_id, label, score, rle, over in zip(
            ids, labels, scores, rles, carried, strict=True
        ):
            track = self._tracks[int(track_id)]
            assert frame_id not in track.rles, f'track {track_id} is twice in frame {frame_id}'
            track.rles[frame_id] = rle
            if over:
                track.propagated.add(frame_id)
            else:
                track.scores[int(label)].append(float(score))

    def results(
        self, video_id: int, length: int, category_ids: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Turns the tracks into entries of the official result file.

        The category of a track is the label with the largest sum of scores over its frames (of two
        equal sums, the smaller label); its score is the mean over the frames it was detected in.
        Propagated masks are no evidence of either and do not count.

        Args:
            video_id: The video's id in the annotation file.
            length: The number of the video's frames.
            category_ids: Category id in the annotation file of each label index.

        Returns:
            One dict ``{video_id, category_id, score, segmentations}`` per track, by falling score
            and then by rising track id. ``segmentations`` has ``length`` entries: the RLE, or None
            where the track is absent. A track with propagated masks also has ``propagated``: true
            in their frames, false in all others.
        """
        entries = []
        for track_id, track in self._tracks.items():
            last = max(track.rles)
            assert last < length, (
                f'video {video_id} has {length} frames, but track {track_id} was found in the '
                f'frame of index {last}'
            )
            label = track.label()
            assert 0 <= label < len(category_ids), (
                f'video {video_id}: track {track_id} has label {label}, but there are '
                f'{len(category_ids)} categories'
            )
            entry = dict(
                video_id=video_id,
                category_id=int(category_ids[label]),
                score=track.score(),
                segmentations=[track.rles.get(frame_id) for frame_id in range(length)],
            )
            if track.propagated:
                entry['propagated'] = [frame in track.propagated for frame in range(length)]
            entries.append((-entry['score'], track_id, entry))
        entries.sort(key=lambda item: item[:2])
        return [entry for _, _, entry in entries]


def _to_list(values: Sequence | torch.Tensor | np.ndarray) -> list:
    return values.tolist() if hasattr(values, 'tolist') else list(values)
