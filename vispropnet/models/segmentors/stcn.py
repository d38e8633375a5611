"""STCN: segments objects that are given by masks, with a memory of key and value features.

Source: Cheng, Tai, Tang, Rethinking Space-Time Networks with Improved Memory Coverage for Efficient
Video Object Segmentation, NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from mmdet.structures import DetDataSample
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional

from vispropnet.errors import UserError
from vispropnet.models.base import Clips, VISDetector
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.models.frames import Answers, Frame, FrameSize, place_of
from vispropnet.models.prop_heads.boxes import mask_boxes
from vispropnet.models.trackers.object_memory import ObjectMemory
from vispropnet.models.trackers.saving import SaveHistory
from vispropnet.ops.space_time import (
    aggregate,
    bootstrapped_cross_entropy,
    hard_share,
    pad_to_multiple,
    read_out,
    unpad,
)
from vispropnet.registry import MODELS, TASK_UTILS

_STRIDE = 16
# From when on a pixel of image or masks has changed (EamStcn).
_IMAGE_CHANGE, _MASK_CHANGE = 4.0, 0.99


@dataclass(frozen=True)
class STCNState:
    """Memory of a video.

    Args:
        ids: K ids of the objects, in the order in which they were given.
        memory: Saved frames.
        previous: Key (P, C) and value (P, K, D) of the frame before, where it is read too.
        before: Image (3, H, W) and probabilities (K, H, W) of the frame before, where the saving
            policy compares them.
        history: Of the saving policy.
        frame_size: Height and width of the original frames; None before the first.
    """

    ids: tuple[int, ...] = ()
    memory: ObjectMemory = ObjectMemory()  # noqa: RUF009 (never changed)
    previous: tuple[Tensor, Tensor] | None = None
    before: tuple[Tensor, Tensor] | None = None
    history: SaveHistory = SaveHistory()  # noqa: RUF009
    frame_size: FrameSize | None = None


@MODELS.register_module()
class STCN(VISDetector):
    """Space-time correspondence network.

    Args:
        key_encoder: Encodes images; gives levels of strides 4, 8 and 16.
        value_encoder: Encodes image, an object's mask and the other objects' masks (5 channels).
        fusion: Fuses both into values.
        decoder: Decodes what was read into masks.
        expansion: Widens the key encoder's last level; None for none.
        key_channels: Channels of keys.
        thin_channels: Channels of the image features beside what was read.
        top_k: Positions of the memory that count at test; None for all.
        saving: Policy that chooses the frames that are saved.
        max_frames: Saved frames, at most; those in which an object was given stay in any case.
        read_previous: Whether the frame before is read too, saved or not.
        max_objects: Objects of a clip in training, at most.
        bootstrap: ``start`` and ``end``, the iterations between which fewer and fewer pixels count,
            and ``lowest``, the share of the hardest that count in the end; None: all count.
        data_preprocessor: As in the base class.
    """

    state_type = STCNState
    takes_objects = True

    def __init__(
        self,
        key_encoder: dict,
        value_encoder: dict,
        fusion: dict,
        decoder: dict,
        expansion: dict | None = None,
        key_channels: int = 64,
        thin_channels: int = 512,
        top_k: int | None = 20,
        saving: dict | None = None,
        max_frames: int = 32,
        read_previous: bool = False,
        max_objects: int = 2,
        bootstrap: dict | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor)
        self.key_encoder = MODELS.build(key_encoder)
        self.value_encoder = MODELS.build(value_encoder)
        self.expansion = None if expansion is None else MODELS.build(expansion)
        channels = expansion['out_channels'] if expansion else self.key_encoder.channels[-1]
        value_channels = fusion['out_channels']
        self.fusion = MODELS.build(
            dict(fusion, in_channels=channels + self.value_encoder.channels[-1])
        )
        self.decoder = MODELS.build(
            dict(
                decoder,
                in_channels=value_channels + thin_channels,
                skip_channels=self.key_encoder.channels[:2],
            )
        )
        self.key = nn.Conv2d(channels, key_channels, 3, padding=1)
        nn.init.orthogonal_(self.key.weight)
        nn.init.zeros_(self.key.bias)
        self.thin = nn.Conv2d(channels, thin_channels, 3, padding=1)
        self.top_k = top_k
        self.saving = TASK_UTILS.build(saving or dict(type='PeriodicSave'))
        if max_frames < 1:
            raise ValueError(f'max_frames must be 1 or more, got {max_frames!r}')
        self.max_frames = max_frames
        self.read_previous = read_previous
        self.max_objects = max_objects
        self.bootstrap = bootstrap

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Encodes frames, each by itself, for all objects.

        Args:
            images: (F, 3, H, W) preprocessed frames.

        Returns:
            ``image``, padded on all sides to multiples of 16; levels ``f4``, ``f8`` and ``f16``;
            ``thin``; and ``key`` (F, P, C) of P positions at stride 16, row by row.
        """
        image = pad_to_multiple(images, _STRIDE)
        f4, f8, f16 = self.key_encoder(image)
        if self.expansion is not None:
            f16 = self.expansion(f16)
        key = self.key(f16).float().flatten(2).transpose(1, 2)
        return dict(image=image, f4=f4, f8=f8, f16=f16, thin=self.thin(f16), key=key)

    def encode_values(
        self, features: Mapping[str, Tensor], masks: Tensor, others: Tensor, owner: Tensor
    ) -> Tensor:
        """Encodes objects in their images.

        Args:
            features: From :meth:`encode`, of F frames.
            masks: (K, H, W) soft masks of K objects.
            others: (K, H, W) sums of the masks of the other objects of the same frame.
            owner: (K,) int64, each object's frame.

        Returns:
            (P, K, D) float32.
        """
        inputs = torch.cat([features['image'][owner], torch.stack([masks, others], 1)], dim=1)
        value = self.fusion(self.value_encoder(inputs)[-1], features['f16'][owner])
        return value.float().flatten(2).permute(2, 0, 1)

    def decode(self, features: Mapping[str, Tensor], read: Tensor, owner: Tensor) -> Tensor:
        """Decodes what was read.

        Args:
            features: From :meth:`encode`, of F frames.
            read: (K, P, D) values of K objects.
            owner: (K,) int64, each object's frame.

        Returns:
            (K, H, W) probabilities of each object by itself.
        """
        thin = features['thin'][owner]
        read = read.transpose(1, 2).unflatten(2, thin.shape[2:]).to(thin.dtype)
        levels = features['f4'], features['f8']
        return self.decoder(torch.cat([read, thin], dim=1), levels, owner).sigmoid()

    def init_state(self) -> STCNState:
        """Makes the state before the first frame."""
        return STCNState()

    def frames_kept(self, state: STCNState) -> int:
        """Counts the saved frames."""
        return len(state.memory)

    @torch.no_grad()
    def step(self, frame: Frame, state: STCNState) -> tuple[Answers, STCNState]:
        """Segments the known objects in a frame, and takes in those that are given with it.

        See the base class. Objects that show nowhere in the frame are left out of its answer; the
        masks of given ones are as given.

        Raises:
            UserError: if an object is given twice, or a mask is of another size than the frame.
        """
        self.check_state(state)
        size = frame.size_after(state.frame_size)
        state = replace(state, frame_size=size)
        given = _checked(frame, state, size)
        if not state.ids and not given:
            empty = torch.zeros(0, *size, dtype=torch.bool, device=frame.features['key'].device)
            return [(frame.number, _instances((), empty, empty.float()))], state
        features, known = frame.features, len(state.ids)
        inner = tuple(int(side) for side in frame.metainfo['img_shape'][:2])
        owner = features['key'].new_zeros(known, dtype=torch.long)
        probabilities = features['image'].new_zeros(0, *features['image'].shape[2:])
        if known:
            read = state.memory.read(features['key'][0], self.top_k, state.previous)
            probabilities = self.decode(features, read, owner)
        if given:
            masks = torch.stack([given[one] for one in sorted(given)])
            scaled = _scaled(masks.float(), inner, like=features['image'])
            free = 1 - scaled.amax(dim=0)
            probabilities = torch.cat([probabilities * free, scaled])
            state = replace(state, ids=(*state.ids, *sorted(given)))
        probabilities = aggregate(probabilities)
        state = self._remember(frame.number, features, probabilities[1:], known, state)
        answer = _answer(unpad(probabilities, inner, _STRIDE), state.ids, given, size)
        return [(frame.number, answer)], state

    def _remember(
        self,
        number: int,
        features: Mapping[str, Tensor],
        probabilities: Tensor,
        known: int,
        state: STCNState,
    ) -> STCNState:
        """Updates the memory; ``known`` of the (K, H, W) objects are not new."""
        change = (0.0, 0.0)
        image = features['image'][0]
        if self.saving.needs_change and state.before is not None:
            change = _change((image, probabilities[:known]), state.before)
        saves, history = self.saving.decide(number, known, change, state.history)
        if known < len(probabilities):
            saves, history = True, SaveHistory(number, change)
        state = replace(
            state,
            history=history,
            before=(image, probabilities) if self.saving.needs_change else None,
        )
        if not saves and not self.read_previous:
            return state
        owner = torch.zeros(len(probabilities), dtype=torch.long, device=image.device)
        others = probabilities.sum(dim=0) - probabilities
        value = self.encode_values(features, probabilities, others, owner)
        key = features['key'][0]
        if saves:
            state = replace(state, memory=state.memory.saved(key, value, self.max_frames))
        # A saved frame is read from the memory.
        previous = (key, value) if self.read_previous and not saves else None
        return replace(state, previous=previous)

    def loss(self, inputs: Tensor, clips: Clips) -> dict[str, Tensor]:
        """Losses of clips whose first frame gives the objects.

        The second frame is segmented from the first, each later one from all before it. Clips whose
        first frame shows no object play no part.

        Args:
            inputs: (B * T, 3, H, W), clip by clip, frames in the order in which they are segmented.
            clips: B clips of T samples.

        Returns:
            ``loss_mask``, and ``iou``, the mean IoU of the objects in the last frame.
        """
        num_frames = len(clips[0])
        features = self.encode(inputs)
        truth = [
            pad_to_multiple(masks, _STRIDE)
            for masks in (_chosen_masks(clip, self.max_objects, inputs.device) for clip in clips)
        ]
        counts = [len(masks) for masks in truth]
        if not any(counts):
            return dict(loss_mask=0 * sum(one.sum() for one in self.parameters()))
        owner = torch.repeat_interleave(torch.arange(len(clips)), torch.tensor(counts))
        owner = owner.to(inputs.device)
        clips_of_frame = [
            {name: one[frame::num_frames] for name, one in features.items()}
            for frame in range(num_frames)
        ]
        masks = [masks[:, 0].float() for masks in truth]
        shown = [clip for clip, count in enumerate(counts) if count]
        memory: list[tuple[Tensor, Tensor]] = []
        losses = []
        for before, current, at in zip(
            clips_of_frame, clips_of_frame[1:], range(1, num_frames), strict=False
        ):
            others = torch.cat([one.sum(dim=0) - one for one in masks])
            memory.append(
                (before['key'], self.encode_values(before, torch.cat(masks), others, owner))
            )
            read = torch.cat([_read_clip(memory, current['key'], clip, counts) for clip in shown])
            alone = self.decode(current, read, owner).split(counts)
            every = [aggregate(one) for one in alone]
            masks = [one[1:] for one in every]
            losses += [
                bootstrapped_cross_entropy(found, _labels(wanted[:, at]), self._share())
                for found, wanted in zip(every, truth, strict=True)
                if len(wanted)
            ]
        found, wanted = torch.cat(masks) > 0.5, torch.cat([masks[:, -1] for masks in truth])
        iou = (found & wanted).sum((1, 2)) / (found | wanted).sum((1, 2)).clamp_min(1)
        # A sum over the frames, a mean over the clips.
        loss = torch.stack(losses).sum() / sum(count > 0 for count in counts)
        return dict(loss_mask=loss, iou=iou.mean())

    def _share(self) -> float:
        if self.bootstrap is None:
            return 1.0
        hub = MessageHub.get_current_instance()
        return hard_share(hub.get_info('iter', 0), **self.bootstrap)


def _read_clip(
    memory: Sequence[tuple[Tensor, Tensor]], keys: Tensor, clip: int, counts: Sequence[int]
) -> Tensor:
    """(K, P, D) values of one clip's objects for its current frame; all of the memory counts."""
    start, count = sum(counts[:clip]), counts[clip]
    parts = [(key[clip], value[:, start : start + count].flatten(1)) for key, value in memory]
    return read_out(parts, keys[clip]).unflatten(1, (count, -1)).transpose(0, 1)


def _chosen_masks(clip: Sequence[DetDataSample], most: int, device: torch.device) -> Tensor:
    """(K, T, H, W) bool masks of some objects that the first frame shows, drawn at random."""
    frames = [sample.gt_instances for sample in clip]
    ids = frames[0].instances_ids.tolist()
    chosen = [ids[at] for at in sorted(torch.randperm(len(ids))[:most].tolist())]
    height, width = frames[0].masks.height, frames[0].masks.width
    masks = torch.zeros(len(chosen), len(clip), height, width, dtype=torch.bool)
    for at, instances in enumerate(frames):
        places = {one: place for place, one in enumerate(instances.instances_ids.tolist())}
        for row, one in zip(masks, chosen, strict=True):
            if one in places:
                row[at] = torch.from_numpy(instances.masks.masks[places[one]] > 0)
    return masks.to(device)


def _labels(masks: Tensor) -> Tensor:
    """(H, W) int64 of (K, H, W) masks: 0 for the background, 1 + k for an object."""
    return torch.cat([~masks.any(dim=0, keepdim=True), masks]).byte().argmax(dim=0)


def _checked(frame: Frame, state: STCNState, size: FrameSize) -> dict[int, Tensor]:
    given = dict(frame.objects or {})
    for one, mask in given.items():
        if one in state.ids:
            raise UserError(
                f'{place_of(frame.metainfo)}: object {one} is given a second time. An object is '
                'given once, in the first frame that shows it.'
            )
        if tuple(mask.shape) != size or mask.dtype != torch.bool:
            raise UserError(
                f'{place_of(frame.metainfo)}: the mask of object {one} is {mask.dtype} of shape '
                f'{tuple(mask.shape)}, expected torch.bool of shape {size}, as the frame has.'
            )
        if not mask.any():
            raise UserError(f'{place_of(frame.metainfo)}: the mask of object {one} is empty.')
    device = frame.features['key'].device
    return {one: mask.to(device) for one, mask in given.items()}


def _scaled(masks: Tensor, size: FrameSize, like: Tensor) -> Tensor:
    """Masks (K, H, W) at the size of the network's padded input."""
    if masks.shape[1:] != size:
        masks = functional.interpolate(masks[None], size, mode='bilinear', antialias=True)[0]
    return pad_to_multiple(masks.to(like.dtype), _STRIDE)


def _change(now: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Percent of the pixels in which image and masks differ from the frame before."""
    limits = (_IMAGE_CHANGE, _MASK_CHANGE)
    shares = [
        ((one - other).abs().sum(dim=0) > limit).float().mean()
        for one, other, limit in zip(now, before, limits, strict=True)
    ]
    image, masks = (100 * torch.stack(shares)).tolist()
    return image, masks


def _answer(
    probabilities: Tensor, ids: Sequence[int], given: Mapping[int, Tensor], size: FrameSize
) -> InstanceData:
    """Instances at the frame's size, of (1 + K, h, w) probabilities."""
    probabilities = functional.interpolate(
        probabilities[None], size, mode='bilinear', align_corners=False
    )[0]
    best = probabilities.argmax(dim=0)
    masks = torch.stack([best == place for place in range(1, len(probabilities))])
    if given:
        masks &= ~torch.stack(list(given.values())).any(dim=0)
        for one, mask in given.items():
            masks[ids.index(one)] = mask
    return _instances(ids, masks, probabilities[1:])


def _instances(ids: Sequence[int], masks: Tensor, probabilities: Tensor) -> InstanceData:
    """Objects of (K, H, W) masks that show; a score is the mean probability inside the mask."""
    areas = masks.sum(dim=(1, 2))
    scores = (probabilities * masks).sum(dim=(1, 2)) / areas.clamp_min(1)
    instances = InstanceData(
        ids=torch.tensor(ids, dtype=torch.long, device=masks.device),
        labels=torch.zeros_like(areas),
        scores=scores.clamp(0, 1),
        bboxes=mask_boxes(masks),
        masks=FrameMasks.dense(masks),
    )
    return instances[areas > 0]
