"""A small model whose answers lag, and which gives what it gives without lag."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from mmengine.structures import InstanceData
from torch import nn
from torch.nn import functional

from vispropnet.models.detectors import VISDetector
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.registry import MODELS


@dataclass(frozen=True)
class BrightState:
    """Frames seen so far, and answers that are held back."""

    seen: int = 0
    held: tuple = ()
    overview: tuple = ()


@MODELS.register_module()
class BrightPixels(VISDetector):
    """Finds the pixels above the frame's mean, and those far above; scores fall frame by frame.

    ``look_ahead`` frames are held back. Its ``fault``: it answers frame 2 ``'twice'``, ``'never'``
    or ``'swapped'`` with the next, or ``'another'`` frame, which it was not given. The scores
    depend on the frames of the ``overview``, and ``looked_over`` has the numbers of these.
    """

    state_type = BrightState

    def __init__(self, look_ahead=0, fault=None, data_preprocessor=None, overview=0):
        super().__init__(data_preprocessor)
        self.look_ahead, self.fault, self.overview = look_ahead, fault, overview
        self.looked_over = []
        self.weight = nn.Parameter(torch.ones(1))
        self.most_held = 0
        self.encoded = []

    def loss(self, inputs, data_samples):
        return dict(loss=self.weight.sum() * inputs.mean())

    def encode(self, images):
        self.encoded.append(len(images))
        return dict(brightness=(images.mean(dim=1, keepdim=True) * self.weight,))

    def init_state(self):
        return BrightState()

    @torch.no_grad()
    def look_over(self, frame, state):
        self.check_state(state)
        self.looked_over.append(frame.number)
        seen = (frame.number, float(frame.features['brightness'][0].std()))
        return replace(state, overview=(*state.overview, seen))

    @torch.no_grad()
    def step(self, frame, state):
        self.check_state(state)
        held = (*state.held, (frame.number, self._found(frame, state)))
        self.most_held = max(self.most_held, len(held))
        due = max(len(held) - self.look_ahead, 0)
        state = replace(state, seen=state.seen + 1, held=held[due:])
        return self._spoilt(list(held[:due])), state

    def finish(self, state):
        return self._spoilt(list(state.held))

    def _found(self, frame, state):
        darkness = 1 + state.seen + sum(number * spread for number, spread in state.overview) / 1000
        (values,) = frame.features['brightness']
        height, width = frame.metainfo['img_shape'][:2]
        size = tuple(frame.metainfo['ori_shape'][:2])
        values = functional.interpolate(values[:, :, :height, :width], size)[0, 0]
        masks = torch.stack([values > values.mean(), values > values.mean() + values.std()])
        return InstanceData(
            ids=torch.tensor([0, 1]),
            labels=torch.tensor([state.seen % 2, 0]),
            scores=torch.tensor([1.0, 0.5]) / darkness,
            bboxes=torch.tensor([[0.0, 0.0, size[1], size[0]]] * 2),
            masks=FrameMasks.dense(masks),
        )

    def _spoilt(self, ready):
        if self.fault is None or 2 not in dict(ready):
            return ready
        at = [number for number, _ in ready].index(2)
        return dict(
            twice=[*ready, ready[at]],
            never=ready[:at] + ready[at + 1 :],
            another=[*ready, (9, ready[at][1])],
            swapped=ready[::-1],
        )[self.fault]


def write_config(folder, base, look_ahead=0, overview=0):
    """Writes a config with the model and the data and loops of a base, and a checkpoint for it."""
    config, checkpoint = folder / f'bright_{look_ahead}_{overview}.py', folder / 'bright.pth'
    config.write_text(
        f"_base_ = [{str(base)!r}]\ncustom_imports = dict(imports=['tests.models.delayed'])\n"
        'preprocessor = {{_base_.model.data_preprocessor}}\n'
        "model = dict(_delete_=True, type='BrightPixels', data_preprocessor=preprocessor, "
        f'look_ahead={look_ahead}, overview={overview})\n'
    )
    names = ['disc', 'square', 'triangle', 'star']
    meta = dict(dataset_meta=dict(classes=names, category_ids=[2, 4, 6, 8]))
    torch.save(dict(state_dict=BrightPixels().state_dict(), meta=meta), checkpoint)
    return str(config), str(checkpoint)
