"""Finding known objects that the detector missed (ObjProp, section 3.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.structures import InstanceData
from pycocotools import mask as mask_utils
from torch import Tensor
from torch.nn import functional

from vispropnet.models.frame_masks import FrameMasks
from vispropnet.models.frames import box_scale, enlarge_masks
from vispropnet.models.prop_heads.boxes import mask_boxes
from vispropnet.models.prop_heads.propagation_head import PropagationHead
from vispropnet.models.trackers.track_history import CarriedTracks, HistoryFrame, MissingTracks
from vispropnet.ops.transfer import to_device, to_host
from vispropnet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class TrackRecovery:
    """Segments tracks that are missing in the current frame by propagation from earlier ones.

    A track is missing if the history holds it and no detection of the current frame is it. Its
    mask is propagated from every frame of the history that holds it. Unless the tracker
    gives what was carried a weight, association goes by detections alone, and is the same with and
    without recovery.

    Args:
        enabled: False recovers nothing, and remembers nothing either.
        history_length: Earlier frames to propagate from.
        fusion: What is averaged over the history: the ``'masks'`` (sigmoid) as in the paper, or the
            ``'attention'``, from which then one mask a track is made, which is cheaper.
        mask_threshold: A pixel belongs to the mask if its averaged value is above.
        min_score: Tracks whose mean score over the history is below are not recovered.
        min_area: Masks of fewer pixels of the original frame are dropped.
        masks: ``'propagation'``: the masks of the propagation head are given out, as in the paper;
            ``'detector'``: finer ones, which the detector's mask head draws in their boxes.
        duplicate_iou: A track that would be recovered where a detection lies, of an IoU of the
            masks above this, is not; None to recover it all the same, as in the paper.
        remember_recovered: Recovered tracks enter the history like detections, as in the paper, so
            that they are propagated on, mistakes included.
        batch_mib: Memory in MiB for the mask branch, which decides how many masks go at once; None
            for one at a time on a CPU (what fits its cache is faster) and 256 MiB elsewhere.

    Raises:
        ValueError: for a history that is not positive, another ``fusion`` or source of masks, a
            threshold outside [0, 1), or a switch that is neither true nor false.
    """

    def __init__(
        self,
        enabled: bool = True,
        history_length: int = 24,
        fusion: str = 'masks',
        mask_threshold: float = 0.3,
        min_score: float = 0.0,
        min_area: int = 1,
        masks: str = 'propagation',
        duplicate_iou: float | None = None,
        remember_recovered: bool = True,
        batch_mib: float | None = None,
    ) -> None:
        if type(history_length) is not int:
            raise ValueError(f'recovery: history_length must be an integer, got {history_length!r}')
        if history_length < 1:
            raise ValueError(
                f'recovery: history_length must be at least 1, got {history_length}; '
                'enabled=False switches propagation off'
            )
        if fusion not in ('masks', 'attention'):
            raise ValueError(f"recovery: fusion must be 'masks' or 'attention', got {fusion!r}")
        if masks not in ('propagation', 'detector'):
            raise ValueError(f"recovery: masks must be 'propagation' or 'detector', got {masks!r}")
        for name, value in (
            ('mask_threshold', mask_threshold),
            ('min_score', min_score),
            ('duplicate_iou', 0 if duplicate_iou is None else duplicate_iou),
        ):
            if not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise ValueError(f'recovery: {name} must be in [0, 1), got {value!r}')
        for name, value in (('enabled', enabled), ('remember_recovered', remember_recovered)):
            # Any word would count as true, 'no' included.
            if value not in (True, False):
                raise ValueError(f'recovery: {name} must be True or False, got {value!r}')
        self.enabled = enabled
        self.history_length = history_length
        self.fusion = fusion
        self.mask_threshold = mask_threshold
        self.min_score = min_score
        self.min_area = min_area
        self.masks = masks
        self.duplicate_iou = duplicate_iou
        self.remember_recovered = remember_recovered
        self.batch_mib = batch_mib

    def recover(
        self,
        features: Tensor,
        detections: InstanceData,
        present: Tensor,
        known: Tensor,
        history: tuple[HistoryFrame, ...],
        metainfo: Mapping[str, Any],
        head: PropagationHead,
        carried: CarriedTracks | None = None,
    ) -> tuple[InstanceData, tuple[HistoryFrame, ...]]:
        """Recovers the missing tracks of a frame and remembers the frame.

        Args:
            features: (C, h, w) of the current frame, as ``head`` makes them.
            detections: ``labels``, ``scores``, ``bboxes`` ((N, 4) in pixels of the network's input)
                and, with ``duplicate_iou``, ``masks`` of the original frame.
            present: (N,) ids of the detections, on the CPU.
            known: (M,) ids that association knows after this frame, on the CPU.
            history: The last frames, oldest first.
            metainfo: ``img_shape``, ``ori_shape``, ``scale_factor`` of the frame.
            head: Carries and segments.
            carried: What :meth:`carry` found in this frame before some of it became detections;
                None to carry now.

        Returns:
            The recovered instances: ``ids``, ``labels``, ``scores``, ``bboxes`` and ``masks``,
            boxes and masks in pixels of the original frame; and the history for the next frame.
        """
        if carried is None:
            carried = self.carry(features, present, known, history, metainfo, head)
        else:
            carried = carried[~torch.isin(carried.ids, present)]
        if self.duplicate_iou is not None and len(carried.ids) and len(present):
            carried = carried[~self._lies_on(carried, detections.masks)]
        recovered = carried.instances()
        boxes = detections.bboxes.float()
        columns = present, detections.labels, detections.scores.float()
        if self.remember_recovered:
            boxes = torch.cat([boxes, recovered.bboxes * box_scale(metainfo, boxes)])
            found = carried.ids, recovered.labels, recovered.scores
            columns = (torch.cat(pair) for pair in zip(columns, found, strict=True))
        frame = HistoryFrame(features, boxes, *columns)
        return recovered, (*history, frame)[-self.history_length :]

    def carry(
        self,
        features: Tensor,
        present: Tensor,
        known: Tensor,
        history: tuple[HistoryFrame, ...],
        metainfo: Mapping[str, Any],
        head: PropagationHead,
    ) -> CarriedTracks:
        """Carries tracks to a frame, those that are not present; empty ones are not found.

        Args:
            features: As in :meth:`recover`.
            present: (N,) ids that the frame has already, on the CPU.
            known: As in :meth:`recover`.
            history: As in :meth:`recover`.
            metainfo: As in :meth:`recover`.
            head: As in :meth:`recover`.
        """
        missing = self.find_missing(history, present, known)
        masks = self._masks(features, missing, history, metainfo, head)
        # A wait for a GPU, as find_missing() if tracks are missing.
        kept = (masks.sum(dim=(1, 2)) >= max(self.min_area, 1)).cpu().nonzero().flatten()
        masks = masks[to_device(kept, masks.device)]
        return CarriedTracks(
            torch.tensor(missing.ids, dtype=torch.long)[kept],
            torch.tensor(missing.labels, dtype=torch.long)[kept],
            torch.tensor(missing.scores)[kept],
            mask_boxes(masks),
            masks,
        )

    def _lies_on(self, carried: CarriedTracks, detected: FrameMasks) -> Tensor:
        """Which carried tracks lie on a detection: (M,) bool on the CPU."""
        masks = FrameMasks.dense(carried.masks).rles(), detected.rles()
        overlaps = mask_utils.iou(*masks, [0] * len(detected))
        return torch.from_numpy((overlaps > self.duplicate_iou).any(axis=1))

    def find_missing(
        self, history: tuple[HistoryFrame, ...], present: Tensor, known: Tensor | None = None
    ) -> MissingTracks:
        """Finds the tracks, of mean score ``min_score`` or more, that the current frame lacks.

        Args:
            history: Earlier frames, oldest first.
            present: (N,) ids in the current frame, on the CPU.
            known: (M,) ids that association still knows, on the CPU; None for all. An object that
                comes back under another id must not be carried on under its old one for ever.
        """
        present = set(present.tolist())
        known = None if known is None else set(known.tolist())
        places: dict[int, list[tuple[int, int]]] = {}
        for number, frame in enumerate(history):
            for row, track in enumerate(frame.ids.tolist()):
                if track not in present and (known is None or track in known):
                    places.setdefault(track, []).append((number, row))
        missing = MissingTracks([], [], [], [[] for _ in history])
        columns = _columns_on_host(history) if places else []
        held = {
            track: [(number, row, *columns[number][row]) for number, row in entries]
            for track, entries in places.items()
        }
        for track, entries in sorted(held.items()):
            mean = sum(score for *_, score in entries) / len(entries)
            if mean < self.min_score:
                continue
            votes = Counter()
            for number, row, label, score in entries:
                votes[label] += score
                missing.held[number].append((row, len(missing.ids)))
            missing.ids.append(track)
            missing.labels.append(votes.most_common(1)[0][0])
            missing.scores.append(mean)
        return missing

    def probabilities(
        self,
        features: Tensor,
        missing: MissingTracks,
        history: tuple[HistoryFrame, ...],
        head: PropagationHead,
    ) -> Tensor:
        """Averaged mask probabilities of M missing tracks, (M, stride * h, stride * w) in [0, 1].

        Args:
            features: (C, h, w) of the current frame.
            missing: The tracks.
            history: Frames to propagate from.
            head: Carries and segments.
        """
        attention, tracks, labels = self._attention(features, missing, history, head)
        # By track: then a batch adds to neighbouring rows only, in the same order each time.
        order = tracks.argsort(stable=True)
        tracks, device = tracks[order], attention.device
        order = to_device(order, device)
        attention, labels = attention[order], labels[order]
        counts = torch.bincount(tracks, minlength=len(missing.ids)).to(attention.dtype)
        counts = to_device(counts, device)[:, None, None]
        if self.fusion == 'attention':
            attention = _sums(attention, tracks, len(missing.ids)) / counts
            tracks, labels = torch.arange(len(missing.ids)), torch.tensor(missing.labels)
            counts = torch.ones_like(counts)
        size = [head.stride * side for side in features.shape[-2:]]
        total = attention.new_zeros(len(missing.ids), *size)
        at_once = self._masks_at_once(features)
        for some, which, label in zip(
            attention.split(at_once), tracks.split(at_once), labels.split(at_once), strict=True
        ):
            logits = head.segment(features[None], some, to_device(label, device))
            first, count = int(which[0]), int(which[-1] - which[0]) + 1
            total[first : first + count] += _sums(logits.float().sigmoid(), which - first, count)
        return total.div_(counts)

    def _masks_at_once(self, features: Tensor) -> int:
        memory = self.batch_mib
        if memory is None:
            memory = 0 if features.device.type == 'cpu' else 256
        # The largest tensor of the mask branch is at half the stride.
        mask_bytes = 4 * features.numel() * features.element_size()
        return max(1, int(memory * 2**20 / mask_bytes))

    def _attention(
        self,
        features: Tensor,
        missing: MissingTracks,
        history: tuple[HistoryFrame, ...],
        head: PropagationHead,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attention (E, h, w) of each (frame, track) pair; its track, on the CPU, and label."""
        attention, tracks, labels = [], [], []
        for frame, held in zip(history, missing.held, strict=True):
            if not held:
                continue
            rows = to_device(torch.tensor([row for row, _ in held]), features.device)
            tracks.append(torch.tensor([position for _, position in held]))
            labels.append(frame.labels[rows])
            arrived = head.attention(
                frame.features, features, frame.boxes[rows], labels[-1], head.test_sigma
            )
            attention.append(head.attend(*arrived))
        return torch.cat(attention), torch.cat(tracks), torch.cat(labels)

    def _masks(
        self,
        features: Tensor,
        missing: MissingTracks,
        history: tuple[HistoryFrame, ...],
        metainfo: Mapping[str, Any],
        head: PropagationHead,
    ) -> Tensor:
        """Masks of missing tracks, (M, H, W) bool in pixels of the original frame."""
        size = [int(side) for side in metainfo['ori_shape'][:2]]
        if not missing.ids:
            return torch.zeros(0, *size, dtype=torch.bool, device=features.device)
        probabilities = self.probabilities(features, missing, history, head)
        return enlarge_masks(probabilities, metainfo, self.mask_threshold)


def _columns_on_host(history: Sequence[HistoryFrame]) -> list[list[tuple[int, float]]]:
    """Labels and scores of each frame's objects, for which a GPU is waited for once."""
    labels, scores = to_host(
        torch.cat([frame.labels for frame in history]),
        torch.cat([frame.scores for frame in history]),
    )
    counts = [len(frame.ids) for frame in history]
    return [
        list(zip(*(column.tolist() for column in pair), strict=True))
        for pair in zip(labels.split(counts), scores.split(counts), strict=True)
    ]


def _sums(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """Sums values (E, ...) into rows (E,): (count, ...), with the same bits each time on a GPU."""
    weights = to_device(functional.one_hot(rows, count).to(values.dtype), values.device)
    return (weights.t() @ values.flatten(1)).view(count, *values.shape[1:])
