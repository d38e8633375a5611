"""Segments the frames of one video one by one, in constant memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.structures import InstanceData

from vispropnet.engine.gpu_memory import explain_lack_of_memory
from vispropnet.engine.inference import VideoRun
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.models.frames import TrackScores
from vispropnet.registry import TRANSFORMS


@dataclass(frozen=True)
class FrameInstances:
    """N instances that were found in one frame, on the CPU."""

    ids: np.ndarray  # (N,) int64, tracks; an object keeps its id as long as it is recognised
    labels: np.ndarray  # (N,) int64, positions of their categories in the model's ``classes``
    categories: tuple[str, ...]  # N names
    scores: np.ndarray  # (N,) float32 in [0, 1]
    boxes: np.ndarray  # (N, 4) float32 x1, y1, x2, y2 in pixels of the frame
    masks: FrameMasks  # ``masks.numpy()`` draws (N, H, W) bool, ``masks.rles()`` encodes
    propagated: np.ndarray  # (N,) bool, carried over from earlier frames, not detected

    def __len__(self) -> int:
        return len(self.ids)


class VideoSegmenter:
    """Segments the frames of one video one by one.

    Args:
        model: Made by :func:`~vispropnet.apis.models.init_model`. Several segmenters may share it:
            nothing of a video lives in the model.
        score_threshold: Instances that score less are left out. They are tracked all the same, so
            ids and what is found otherwise do not depend on it.
        scale: (width, height) that frames are fitted into for the network, their sides in
            proportion; by default the config's ``video_scale``, or else what its test pipeline
            does. Results are always in pixels of the original frame.

    Attributes:
        track_scores: Categories and scores of the tracks of the video that :meth:`finish` ended,
            from models that rate tracks over the video, else None. Of a track the best category,
            and others that score at least ``score_threshold``.

    Raises:
        UserError: if the model's config has no test pipeline, or an argument does not fit.
    """

    track_scores: TrackScores | None = None

    def __init__(
        self, model: VISDetector, score_threshold: float = 0.0, scale: tuple[int, int] | None = None
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise UserError(f'score_threshold must be from 0 to 1, got {score_threshold}.')
        self.model = model
        self.score_threshold = score_threshold
        self._pipeline = array_pipeline(model.cfg, scale or model.cfg.get('video_scale'))
        self.device = next(model.parameters()).device
        self.reset()

    def reset(self) -> None:
        """Forgets the video; the next frame is the first of another."""
        self._run = VideoRun(self.model)

    @property
    def num_frames(self) -> int:
        """Number of the next frame: how many the model has taken."""
        return self._run.num_frames

    def look_over(self, frames: Iterable[tuple[int, np.ndarray]], batch: int = 1) -> None:
        """Shows the model its overview of the video, before the first :meth:`step`.

        Only for a model whose ``overview`` is not 0.

        Args:
            frames: Numbers of frames, from 0, and the frames as of :meth:`step`:
                ``model.overview`` of them, spread evenly from the first frame of the video to the
                last; all of a shorter video.
            batch: Frames that are encoded at once.

        Raises:
            UserError: as :meth:`step`.
        """
        frames = iter(frames)
        while some := list(itertools.islice(frames, batch)):
            prepared = [self.prepare(frame) for _, frame in some]
            samples = [one['data_samples'] for one in prepared]
            for (number, _), sample in zip(some, samples, strict=True):
                sample.set_metainfo(dict(frame_id=number))
            self._run.look_over([one['inputs'] for one in prepared], samples)

    def step(self, frame: np.ndarray) -> list[tuple[int, FrameInstances]]:
        """Takes the next frame of the video.

        Args:
            frame: (H, W, 3) uint8, BGR as OpenCV reads it; also (H, W) grey, and (H, W, 4), whose
                alpha is dropped.

        Returns:
            Answers that are ready: numbers of frames, from 0, each with what was found in it.
            Most models answer at once: that is this frame. A model that looks ahead answers
            ``model.look_ahead`` frames later.

        Raises:
            UserError: if it is no such array, or of another size than the frames before.
        """
        return list(self.step_prepared([self.prepare(frame)]))

    def finish(self) -> list[tuple[int, FrameInstances]]:
        """Ends the video, with the answers that are still due; the next frame begins another.

        From now on :attr:`track_scores` are those of this video.
        """
        answers = [(number, self._on_host(found)) for number, found in self._run.finish()]
        scores = self._run.track_scores()
        self.track_scores = None if scores is None else scores.above(self.score_threshold)
        self.reset()
        return answers

    def prepare(
        self, frame: np.ndarray, objects: Mapping[int, np.ndarray] | None = None
    ) -> dict[str, Any]:
        """Prepares a frame on the CPU, perhaps in another thread, for :meth:`step_prepared`.

        Args:
            frame: As of :meth:`step`.
            objects: For models that take them, (H, W) bool masks of given objects, by id.
        """
        image = _bgr(frame)
        height, width = image.shape[:2]
        results = dict(img=image, img_shape=(height, width), ori_shape=(height, width))
        try:
            packed = self._pipeline(results)
        except cv2.error:
            # A side so short that nothing is left of it.
            raise UserError(f'a frame of {width}x{height} pixels cannot be scaled.') from None
        if self.device.type == 'cuda':
            # From pinned memory nobody waits for the copy; it takes its turn after what the GPU
            # has been given before.
            packed['inputs'] = packed['inputs'].pin_memory().to(self.device, non_blocking=True)
        if objects:
            packed['objects'] = {one: torch.from_numpy(mask) for one, mask in objects.items()}
        return packed

    def step_prepared(
        self, prepared: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[int, FrameInstances]]:
        """Takes the next frames, which :meth:`prepare` prepared and which are encoded at once.

        Yields:
            As :meth:`step`; each frame is stepped through when it is asked for.

        Raises:
            UserError: if a frame has another size than those before.
        """
        samples = [one['data_samples'] for one in prepared]
        for number, sample in enumerate(samples, self.num_frames):
            sample.set_metainfo(dict(frame_id=number))
        objects = [one.get('objects') for one in prepared]
        inputs = [one['inputs'] for one in prepared]
        for number, found in self._run.answers(inputs, samples, objects):
            yield number, self._on_host(found)

    @explain_lack_of_memory()
    def _on_host(self, instances: InstanceData) -> FrameInstances:
        propagated = instances.get('propagated')
        if propagated is None:
            propagated = torch.zeros_like(instances.labels)
        # One copy to the host for all.
        numbers = (instances.ids, instances.labels, instances.scores, propagated)
        columns = [*(one.double()[:, None] for one in numbers), instances.bboxes.double()]
        table = torch.cat(columns, dim=1).cpu().numpy()
        kept = np.flatnonzero(table[:, 2].astype(np.float32) >= np.float32(self.score_threshold))
        table = table[kept]
        labels = table[:, 1].astype(np.int64)
        return FrameInstances(
            ids=table[:, 0].astype(np.int64),
            labels=labels,
            categories=tuple(self.model.classes[label] for label in labels),
            scores=table[:, 2].astype(np.float32),
            boxes=table[:, 4:].astype(np.float32),
            masks=instances.masks[kept].cpu(),
            propagated=table[:, 3].astype(bool),
        )


def array_pipeline(cfg: Any, scale: tuple[int, int] | None = None) -> Compose:
    """Builds a config's test pipeline without the steps that load, for frames that are arrays.

    Args:
        cfg: Config of a model.
        scale: Width and height to fit frames into, instead of the pipeline's own.

    Raises:
        UserError: if the config has no test pipeline, or the scale is no size.
    """
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    if loader is None:
        raise UserError('the config has no test_dataloader, whose pipeline prepares the frames.')
    steps = [dict(step) for step in loader.dataset.pipeline if 'Load' not in step['type']]
    if scale is not None:
        if len(scale) != 2 or min(scale) < 1:
            raise UserError(f'scale must be a width and a height, got {tuple(scale)}.')
        resize = dict(type='Resize', scale=tuple(scale), keep_ratio=True)
        steps = [resize, *(step for step in steps if step['type'] != 'Resize')]
    with quiet():
        return Compose([TRANSFORMS.build(step) for step in steps])


def _bgr(frame: np.ndarray) -> np.ndarray:
    shape = getattr(frame, 'shape', ())
    channels = shape[2] if len(shape) == 3 else 1
    fits = len(shape) in (2, 3) and channels in (1, 3, 4) and 0 not in shape
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or not fits:
        found = f'{frame.dtype} of shape {shape}' if shape else type(frame).__name__
        raise UserError(f'a frame must be (H, W, 3) uint8 in the order BGR, got {found}.')
    if channels == 4:
        return np.ascontiguousarray(frame[..., :3])
    return frame if channels == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
