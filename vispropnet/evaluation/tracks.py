"""From instances found frame by frame to the tracks of one video, as the result file has them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_utils

from vispropnet.errors import UserError

RLE = dict[str, Any]


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


def checked_rles(
    masks: Sequence[RLE | None], video: Mapping[str, Any], where: str
) -> list[RLE | None]:
    """Checks the masks of a track against its video, and compresses those that are not.

    Without it the evaluator would cut the longer of two tracks, take masks of unequal size for
    masks without a common pixel, and never come back from an RLE that is cut short.

    Args:
        masks: One RLE, compressed or uncompressed, or None per frame.
        video: Entry of the annotation file. ``length``, ``height`` and ``width`` are checked where
            they are present.
        where: How messages call the track.

    Returns:
        The masks as compressed RLEs, None where there is none. The given ones are not changed.

    Raises:
        UserError: naming track and frame, if a mask does not fit the video or is no RLE.
    """
    if not isinstance(masks, (list, tuple)):
        raise UserError(f"{where}: 'segmentations' must be a list, got {masks!r}.")
    length = video.get('length', len(video.get('file_names', masks)))
    if len(masks) != length:
        raise UserError(
            f"{where}: 'segmentations' has {len(masks)} entries, but video {video['id']} has "
            f'{length} frames.'
        )
    return [
        _checked_rle(mask, video, f'{where}, frame {frame}') if mask else None
        for frame, mask in enumerate(masks)
    ]


def _checked_rle(mask: RLE, video: Mapping[str, Any], where: str) -> RLE:
    if not isinstance(mask, dict) or not isinstance(mask.get('counts'), (list, str, bytes)):
        raise UserError(f"{where}: a mask must be null or an RLE with 'size' and 'counts'.")
    size = mask.get('size')
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        raise UserError(f"{where}: 'size' of an RLE must be [height, width], got {size!r}.")
    height, width = size
    wanted = (video.get('height', height), video.get('width', width))
    if (height, width) != wanted:
        raise UserError(
            f'{where}: the mask is {width}x{height} pixels (width x height), but video '
            f'{video["id"]} is {wanted[1]}x{wanted[0]}.'
        )
    counts = mask['counts']
    if isinstance(counts, list):
        runs = np.array([run if type(run) is int else -1 for run in counts])
    else:
        runs = decode_counts(counts)
    if runs.sum() != height * width or (runs < 0).any():
        raise UserError(
            f"{where}: 'counts' of the RLE are damaged: they must be runs that cover "
            f'{height * width} pixels, but cover {int(runs.sum())}.'
        )
    return mask_utils.frPyObjects(mask, height, width) if isinstance(counts, list) else mask


def decode_counts(counts: str | bytes) -> np.ndarray:
    """Decodes the compressed counts of an RLE into run lengths.

    Needed to tell a damaged RLE: pycocotools merges one that is cut short in an endless loop.

    Args:
        counts: Compressed counts: little-endian groups of five bits, and from the fourth run on the
            difference to the run before the last.

    Returns:
        (R,) int64 run lengths, of background and object in turn. Source: rleFrString of cocoapi.
    """
    data = np.frombuffer(counts.encode() if isinstance(counts, str) else counts, np.uint8)
    digits = data.astype(np.int64) - 48
    if digits.size == 0 or digits[-1] & 0x20:
        return np.zeros(0, np.int64)  # nothing, or it stops inside a number
    ends = np.flatnonzero(digits & 0x20 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    runs = np.add.reduceat((digits & 0x1F) << np.minimum(5 * places, 40), starts)
    negative = (digits[ends] & 0x10) != 0
    runs[negative] -= np.int64(1) << np.minimum(5 * (ends - starts + 1)[negative], 45)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


class _Track:
    """What is kept of one track: its masks as RLE by frame, and its scores by label."""

    __slots__ = ('rles', 'scores')

    def __init__(self) -> None:
        self.rles: dict[int, RLE] = {}
        self.scores: dict[int, list[float]] = defaultdict(list)

    def label(self) -> int:
        """The label with the largest sum of scores; the smaller one of two that are equal."""
        return min(self.scores, key=lambda label: (-math.fsum(self.scores[label]), label))

    def score(self) -> float:
        """The mean score over the frames that the track was found in."""
        return math.fsum(score for scores in self.scores.values() for score in scores) / len(
            self.rles
        )


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
    ) -> None:
        """Adds the instances of one frame.

        Args:
            frame_id: Position of the frame in the video, from 0.
            ids: (N,) track id of each instance, none twice.
            labels: (N,) label index of each.
            scores: (N,) score of each.
            rles: N compressed RLEs, as :func:`encode_masks` gives them.
        """
        frame_id = int(frame_id)
        ids, labels, scores = _to_list(ids), _to_list(labels), _to_list(scores)
        assert len(ids) == len(labels) == len(scores) == len(rles), (
            f'frame {frame_id}: {len(ids)} ids, {len(labels)} labels, {len(scores)} scores and '
            f'{len(rles)} masks must be equally many'
        )
        for track_id, label, score, rle in zip(ids, labels, scores, rles, strict=True):
            track = self._tracks[int(track_id)]
            assert frame_id not in track.rles, f'track {track_id} is twice in frame {frame_id}'
            track.rles[frame_id] = rle
            track.scores[int(label)].append(float(score))

    def results(
        self, video_id: int, length: int, category_ids: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Turns the tracks into entries of the official result file.

        The category of a track is the label with the largest sum of scores over its frames (of two
        equal sums, the smaller label); its score is the mean over the frames it was found in.

        Args:
            video_id: The video's id in the annotation file.
            length: The number of the video's frames.
            category_ids: Category id in the annotation file of each label index.

        Returns:
            One dict ``{video_id, category_id, score, segmentations}`` per track, by falling score
            and then by rising track id. ``segmentations`` has ``length`` entries: the RLE, or None
            where the track is absent.
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
                video_id=int(video_id),
                category_id=int(category_ids[label]),
                score=track.score(),
                segmentations=[track.rles.get(frame_id) for frame_id in range(length)],
            )
            entries.append((-entry['score'], track_id, entry))
        entries.sort(key=lambda item: item[:2])
        return [entry for _, _, entry in entries]


def _to_list(values: Sequence | torch.Tensor | np.ndarray) -> list:
    return values.tolist() if hasattr(values, 'tolist') else list(values)
