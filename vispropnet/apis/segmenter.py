"""Segmenting videos frame by frame, in constant memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.structures import InstanceData

from vispropnet.datasets.frame_sources import FrameSource, SourceFrame, open_source
from vispropnet.datasets.reading_ahead import read_ahead
from vispropnet.engine.inference import VideoRun, frames_at_once
from vispropnet.engine.quiet import quiet
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.models.frame_masks import FrameMasks
from vispropnet.registry import TRANSFORMS


@dataclass(frozen=True)
class FrameInstances:
    """What was found in one frame: N instances, on the CPU.

    Args:
        ids: (N,) int64, the track of each; an object keeps its id as long as it is recognised.
        labels: (N,) int64, position of its category in the model's ``classes``.
        categories: N names.
        scores: (N,) float32 in [0, 1].
        boxes: (N, 4) float32 x1, y1, x2, y2 in pixels of the frame.
        masks: Their masks: ``masks.numpy()`` draws (N, H, W) bool, ``masks.rles()`` encodes.
        propagated: (N,) bool, which were carried over from earlier frames, not detected.
    """

    ids: np.ndarray
    labels: np.ndarray
    categories: tuple[str, ...]
    scores: np.ndarray
    boxes: np.ndarray
    masks: FrameMasks
    propagated: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


class SegmentedFrame(NamedTuple):
    """A frame with what was found in it.

    Args:
        image: (H, W, 3) uint8, BGR.
        index: Position in the source, from 0.
        name: File name, or number as text.
        instances: What was found.
    """

    image: np.ndarray
    index: int
    name: str
    instances: FrameInstances


class VideoSegmenter:
    """Segments the frames of one video as they come.

    Args:
        model: What :func:`~vispropnet.apis.models.init_model` gave. Several segmenters may share
            it: nothing of a video lives in the model.
        score_threshold: Instances that score less are left out. They are tracked all the same, so
            ids and what is found otherwise do not depend on it.
        scale: (width, height) that frames are fitted into for the network, their sides in
            proportion; by default the config's ``video_scale``, or else what its test pipeline
            does. Results are always in pixels of the original frame.

    Raises:
        UserError: if the model's config has no test pipeline, or an argument does not fit.
    """

    def __init__(
        self,
        model: VISDetector,
        score_threshold: float = 0.0,
        scale: tuple[int, int] | None = None,
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise UserError(f'score_threshold must be from 0 to 1, got {score_threshold}.')
        self.model = model
        self.score_threshold = score_threshold
        self._pipeline = _pipeline(model.cfg, scale)
        self.device = next(model.parameters()).device
        self.reset()

    def reset(self) -> None:
        """Forgets the video; the next frame is the first of another."""
        self._run = VideoRun(self.model)

    @property
    def num_frames(self) -> int:
        """Number of the next frame: how many the model has taken."""
        return self._run.num_frames

    def step(self, frame: np.ndarray) -> list[tuple[int, FrameInstances]]:
        """Takes the next frame of the video.

        Args:
            frame: (H, W, 3) uint8, BGR as OpenCV reads it; also (H, W) grey, and (H, W, 4), whose
                alpha is dropped.

        Returns:
            What is known by now: numbers of frames, counted from 0, each with what was found in it.
            Most models answer at once: that is this frame. A model that looks ahead answers
            ``model.look_ahead`` frames later.

        Raises:
            UserError: if it is no such array, or of another size than the frames before.
        """
        return list(self.step_prepared([self.prepare(frame)]))

    def finish(self) -> list[tuple[int, FrameInstances]]:
        """Ends the video; the next frame is the first of another.

        Returns:
            As :meth:`step`, for the frames that are not yet answered; none from a model that
            answers at once.
        """
        answers = [(number, self._on_host(found)) for number, found in self._run.finish()]
        self.reset()
        return answers

    def prepare(self, frame: np.ndarray) -> dict[str, Any]:
        """Does what precedes the network on the CPU; may run in another thread, ahead of time.

        Args:
            frame: As in :meth:`step`.

        Returns:
            For :meth:`step_prepared`.

        Raises:
            UserError: if it is no such array.
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
            # From pinned memory the copy to the GPU goes on while the GPU works.
            packed['inputs'] = packed['inputs'].pin_memory().to(self.device, non_blocking=True)
        return packed

    def step_prepared(
        self, prepared: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[int, FrameInstances]]:
        """Takes the next frames, which are encoded at once.

        Args:
            prepared: What :meth:`prepare` made of them, all of one size.

        Yields:
            As :meth:`step`; each frame is stepped through when it is asked for.

        Raises:
            UserError: if a frame has another size than those before.
        """
        samples = [one['data_samples'] for one in prepared]
        for number, sample in enumerate(samples, self.num_frames):
            sample.set_metainfo(dict(frame_id=number))
        for number, found in self._run.answers([one['inputs'] for one in prepared], samples):
            yield number, self._on_host(found)

    def _on_host(self, instances: InstanceData) -> FrameInstances:
        propagated = instances.get('propagated')
        if propagated is None:
            propagated = torch.zeros_like(instances.labels)
        # One copy to the host for all.
        numbers = (instances.ids, instances.labels, instances.scores, propagated)
        table = torch.cat(
            [*(one.double()[:, None] for one in numbers), instances.bboxes.double()], dim=1
        )
        table = table.cpu().numpy()
        kept = np.flatnonzero(table[:, 2].astype(np.float32) >= np.float32(self.score_threshold))
        table = table[kept]
        labels = table[:, 1].astype(np.int64)
        return FrameInstances(
            ids=table[:, 0].astype(np.int64),
            labels=labels,
            categories=tuple(self.model.classes[label] for label in labels),
            scores=table[:, 2].astype(np.float32),
            boxes=table[:, 4:].astype(np.float32),
            masks=instances.masks[kept],
            propagated=table[:, 3].astype(bool),
        )


def segment_video(
    model: VISDetector,
    source: str | os.PathLike | int | FrameSource | Iterable[np.ndarray],
    score_threshold: float = 0.3,
    every: int = 1,
    start: int | str | None = None,
    end: int | str | None = None,
    max_size: int | None = None,
    scale: tuple[int, int] | None = None,
    batch: int | None = None,
) -> Iterator[SegmentedFrame]:
    """Segments a video, frame by frame; the next frames are read and prepared in the background.

    Args:
        model: What :func:`~vispropnet.apis.models.init_model` gave.
        source: Video file, folder of frames, number of a camera, what
            :func:`~vispropnet.datasets.frame_sources.open_source` opened, or (H, W, 3) uint8 BGR
            arrays.
        score_threshold: Instances that score less are left out.
        every: Only every so many-th frame.
        start: First frame, from 0, or seconds as ``'12.5s'``.
        end: Frame behind the last, or seconds.
        max_size: Longest side in pixels; larger frames are scaled down.
        scale: As in :class:`VideoSegmenter`.
        batch: Frames that are encoded at once; None for 1 on a CPU and for a camera, 4 on a GPU.

    Yields:
        The frames with what was found in them, in order.

    Raises:
        UserError: if the source cannot be read or an argument does not fit; frames before the fault
            have been given by then.
    """
    opened = None
    if isinstance(source, (str, os.PathLike, int)):
        source = opened = open_source(source, every, start, end, max_size)
    elif (every, start, end, max_size) != (1, None, None, None):
        raise UserError('every, start, end and max_size are for files, folders and cameras.')
    try:
        with contextlib.closing(
            VideoSegmentation(model, source, score_threshold, scale, batch)
        ) as frames:
            yield from frames
    finally:
        if opened is not None:
            opened.close()


class VideoSegmentation:
    """A video that is being segmented: an iterator over its frames that can be cut short.

    Memory does not grow with the length of the video: it holds the frames that are read ahead,
    encoded at once and not yet answered.

    Args:
        model: As in :func:`segment_video`.
        source: What :func:`~vispropnet.datasets.frame_sources.open_source` opened, or arrays. It
            is not closed.
        score_threshold: As in :func:`segment_video`.
        scale: As there.
        batch: As there.

    Raises:
        UserError: as :func:`segment_video`.
    """

    def __init__(
        self,
        model: VISDetector,
        source: FrameSource | Iterable[np.ndarray],
        score_threshold: float = 0.3,
        scale: tuple[int, int] | None = None,
        batch: int | None = None,
    ) -> None:
        self._segmenter = VideoSegmenter(model, score_threshold, scale)
        # What a camera shows should be new.
        camera = getattr(source, 'kind', '') == 'camera'
        self._batch = frames_at_once(
            1 if camera and batch is None else batch, self._segmenter.device
        )
        depth = 1 if camera else max(4, self._batch)
        self._read = read_ahead(_prepared(source, self._segmenter), depth)
        # Frames that are not yet answered, by number; and the last that was handed over.
        self._waiting: dict[int, SourceFrame] = {}
        self._done = -1
        self._frames = self._segment()

    def __iter__(self) -> Iterator[SegmentedFrame]:
        return self._frames

    def rest(self) -> Iterator[SegmentedFrame]:
        """Ends the video before its end, also when an exception has ended the iteration.

        Yields:
            The frames that the model has taken and that were not yet handed over.
        """
        self._frames.close()
        yield from self._answered(self._segmenter.finish())

    def close(self) -> None:
        """Ends the reading ahead."""
        self._frames.close()

    def _segment(self) -> Iterator[SegmentedFrame]:
        with contextlib.closing(self._read):
            try:
                for some in _batches(self._read, self._batch):
                    first = self._segmenter.num_frames
                    self._waiting.update(enumerate((frame for frame, _ in some), first))
                    yield from self._answered(
                        self._segmenter.step_prepared([prepared for _, prepared in some])
                    )
                    del some
            except UserError as error:
                yield from self._before(error)
                raise
            yield from self._answered(self._segmenter.finish())

    def _before(self, error: UserError) -> Iterator[SegmentedFrame]:
        """The frames that the model has taken before an error, if that is not the model's own."""
        try:
            answers = self._segmenter.finish()
        except UserError:
            raise error from None
        yield from self._answered(answers)

    def _answered(self, answers: Iterable[tuple[int, FrameInstances]]) -> Iterator[SegmentedFrame]:
        for number, found in answers:
            if number <= self._done:
                continue
            frame = self._waiting.pop(number)
            self._done = number
            yield SegmentedFrame(frame.image, frame.index, frame.name, found)


def _batches(
    frames: Iterable[tuple[SourceFrame, dict]], count: int
) -> Iterator[list[tuple[SourceFrame, dict]]]:
    """Groups frames of one size, in order; the last group may be smaller.

    What comes before an error of the frames is given first.
    """
    some: list[tuple[SourceFrame, dict]] = []
    frames = iter(frames)
    while True:
        try:
            one = next(frames, None)
        except Exception:
            if some:
                yield some
            raise
        if some and (one is None or one[0].image.shape[:2] != some[0][0].image.shape[:2]):
            yield some
            some = []
        if one is None:
            return
        some.append(one)
        del one
        if len(some) == count:
            yield some
            some = []


def _prepared(
    frames: Iterable[SourceFrame | np.ndarray], segmenter: VideoSegmenter
) -> Iterator[tuple[SourceFrame, dict]]:
    for index, frame in enumerate(frames):
        if not isinstance(frame, SourceFrame):
            frame = SourceFrame(frame, index, f'{index:08d}')
        yield frame, segmenter.prepare(frame.image)


def _bgr(frame: np.ndarray) -> np.ndarray:
    shape = getattr(frame, 'shape', ())
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or not fits or 0 in shape:
        found = f'{frame.dtype} of shape {shape}' if shape else type(frame).__name__
        raise UserError(f'a frame must be (H, W, 3) uint8 in the order BGR, got {found}.')
    if len(shape) == 3 and shape[2] == 3:
        return frame
    if len(shape) == 3 and shape[2] == 4:
        return np.ascontiguousarray(frame[..., :3])
    return cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)


def _pipeline(cfg: Any, scale: tuple[int, int] | None) -> Compose:
    """The config's test pipeline, for frames that are in memory already."""
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    if loader is None:
        raise UserError('the config has no test_dataloader, whose pipeline prepares the frames.')
    steps = [dict(step) for step in loader.dataset.pipeline if 'Load' not in step['type']]
    scale = scale or cfg.get('video_scale')
    if scale is not None:
        if len(scale) != 2 or min(scale) < 1:
            raise UserError(f'scale must be a width and a height, got {tuple(scale)}.')
        resize = dict(type='Resize', scale=tuple(scale), keep_ratio=True)
        steps = [resize, *(step for step in steps if step['type'] != 'Resize')]
    with quiet():
        return Compose([TRANSFORMS.build(step) for step in steps])
