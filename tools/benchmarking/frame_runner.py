"""Takes frames from the JPEG through a model, and times the parts of the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from benchmarking.parts import OUR_PARTS, QUERY_PARTS, PartClock
from benchmarking.settings import InferSettings as Settings
from vispropnet.engine.acceleration import inference_precision
from vispropnet.engine.quiet import quiet
from vispropnet.models.detectors import MinVIS, VISDetector
from vispropnet.models.frames import Frame, split_frames
from vispropnet.registry import TRANSFORMS


class FrameRunner:
    """Takes frames from the JPEG through a model of ours.

    Args:
        model: Whose.
        image: (3, H, W) uint8 frame.
        settings: Size and number of the frames of a run, and the detections that are wanted.
    """

    def __init__(self, model: VISDetector, image: Tensor, settings: Settings) -> None:
        self.model = model
        self.jpeg = cv2.imencode('.jpg', image.permute(1, 2, 0).numpy())[1].tobytes()
        resize = dict(type='Resize', scale=settings.size, keep_ratio=True)
        with quiet():
            self.resize = TRANSFORMS.build(resize)
            self.pack = TRANSFORMS.build(dict(type='PackFrameInputs'))
        self.clock = PartClock(next(model.parameters()).device)
        self.batch = settings.batch
        # Frames before those of a run: as many as support it, at least one.
        self.first = 1
        if getattr(model, 'uses_support', False) and not model.overview:
            self.first = model.support.num_frames * model.support.stride
        self.detections = settings.detections

    def load(self, numbers: Sequence[int]) -> tuple[Tensor, list[dict[str, Any]]]:
        """Decodes, resizes, normalises and pads frames.

        Args:
            numbers: Of the frames in the video.

        Returns:
            (F, 3, H, W) and the metainfo of each.
        """
        data = dict(inputs=[], data_samples=[])
        for number in numbers:
            with self.clock.part('decode'):
                image = mmcv.imfrombytes(self.jpeg)
            with self.clock.part('preprocess'):
                shape = image.shape[:2]
                loaded = dict(img=image, img_shape=shape, ori_shape=shape, frame_id=number)
                for name, value in self.pack(self.resize(loaded)).items():
                    data[name].append(value)
        with self.clock.part('preprocess'):
            batch = self.model.data_preprocessor(data, False)
        return batch['inputs'], [sample.metainfo for sample in batch['data_samples']]

    def encode(self, numbers: Sequence[int]) -> list[Frame]:
        """Loads frames and encodes them at once."""
        images, metainfos = self.load(numbers)
        with torch.no_grad(), inference_precision(self.model):
            return split_frames(self.model.encode(images), metainfos)

    def state_before_run(self) -> Any:
        """Steps through the frames before those of a run, after those of the overview."""
        state = self.model.init_state()
        for number in range(self.model.overview):
            state = self.model.look_over(self.encode([number])[0], state)
        for number in range(self.first):
            _, state = self.step(self.encode([number])[0], state)
        return state

    def step(self, frame: Frame, state: Any) -> tuple[InstanceData, Any]:
        """Steps through a frame of a model that answers at once."""
        with inference_precision(self.model):
            ((_, instances),), state = self.model.step(frame, state)
        return instances, state

    def answer(self, frame: Frame, state: Any) -> tuple[InstanceData, Any]:
        """Gives a frame's instances, with ``rles`` instead of masks, and the state after it."""
        instances, state = self.step(frame, state)
        with self.clock.part('encode'):
            rles = instances.masks.rles()
        return with_rles(instances, rles), state

    def run(self, state: Any) -> list[InstanceData]:
        """Answers the frames after the first ones of a video, whose state is given."""
        found = []
        for frame in self.encode(range(self.first, self.first + self.batch)):
            instances, state = self.answer(frame, state)
            found.append(instances)
        return found

    def parts(self, state: Any) -> tuple[Any, dict[str, str]]:
        """Gives the owner of the methods that are timed, and their names."""
        return self.model, QUERY_PARTS if isinstance(self.model, MinVIS) else OUR_PARTS

    def split(self, state: Any) -> dict[str, float]:
        """Runs once more and gives the seconds of each part."""
        with self.clock.watch(*self.parts(state)):
            self.run(state)
        return self.clock.seconds


def with_rles(instances: InstanceData, rles: list[dict]) -> InstanceData:
    """Replaces the masks of instances by their run lengths, in place."""
    del instances.masks
    instances.rles = rles
    return instances
