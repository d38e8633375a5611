"""Segments whole videos: read ahead, in batches, in constant memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from vispropnet.apis.segmenter import FrameInstances, VideoSegmenter
from vispropnet.datasets.reading_ahead import read_ahead
from vispropnet.engine.inference import frames_at_once
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.models.frames import TrackScores
from vispropnet.positions import evenly
from vispropnet.video import FrameSource, SourceFrame, open_source

# Masks of the objects that a frame is the first to show, by id.
Objects = Callable[[SourceFrame], Mapping[int, np.ndarray]]


class SegmentedFrame(NamedTuple):
    """A frame with what was found in it."""

    image: np.ndarray  # (H, W, 3) uint8, BGR
    index: int  # position in the source, from 0
    name: str  # file name, or number as text
    instances: FrameInstances
    seconds: float | None = None  # since the source's first frame; None without times


def segment_video(
    model: VISDetector,
    source: str | os.PathLike | FrameSource | Iterable[np.ndarray],
    score_threshold: float = 0.3,
    every: int | str = 1,
    start: int | str | None = None,
    end: int | str | None = None,
    max_size: int | None = None,
    scale: tuple[int, int] | None = None,
    batch: int | None = None,
) -> Iterator[SegmentedFrame]:
    """Segments a video, frame by frame; the next frames are read and prepared in the background.

    Args:
        model: Made by :func:`~vispropnet.apis.models.init_model`.
        source: Video file, folder of frames, source opened by
            :func:`~vispropnet.video.open_source`, or (H, W, 3) uint8 BGR arrays, which may come
            without an end unless the model has an ``overview``.
        score_threshold: Instances that score less are left out.
        every: Only every so many-th frame, or one in so many seconds, as ``'0.5s'``.
        start: First frame, from 0, or seconds as ``'12.5s'``.
        end: Frame behind the last, or seconds.
        max_size: Longest side in pixels; larger frames are scaled down.
        scale: As in :class:`~vispropnet.apis.segmenter.VideoSegmenter`.
        batch: Frames that are encoded at once; None for 1 on a CPU and 4 on a GPU.

    Yields:
        The frames with what was found in them, in order.

    Raises:
        UserError: if the source cannot be read or an argument does not fit; frames before the fault
            have been given by then.
    """
    if model.takes_objects:
        raise UserError(
            f'{type(model).__name__} segments given objects: use VideoObjectSegmenter, or '
            'tools/demo_video.py with --masks-in.'
        )
    if isinstance(source, (str, os.PathLike)):
        source = open_source(source, every, start, end, max_size)
    elif (every, start, end, max_size) != (1, None, None, None):
        raise UserError('every, start, end and max_size are for files and folders.')
    segmentation = VideoSegmentation(model, source, score_threshold, scale, batch)
    with contextlib.closing(segmentation) as frames:
        yield from frames


class VideoSegmentation:
    """A video that is being segmented: an iterator over its frames that can be cut short.

    Memory does not grow with the length of the video: it holds the frames that are read ahead,
    encoded at once and not yet answered. Arguments are those of :func:`segment_video`; the source
    is an opened one, or arrays. ``objects``, for models that take them, gives the masks by id of
    the objects that a frame is the first to show.
    """

    def __init__(
        self,
        model: VISDetector,
        source: FrameSource | Iterable[np.ndarray],
        score_threshold: float,
        scale: tuple[int, int] | None = None,
        batch: int | None = None,
        objects: Objects | None = None,
    ) -> None:
        self._segmenter = VideoSegmenter(model, score_threshold, scale)
        self._source = source
        self._batch = frames_at_once(batch, self._segmenter.device)
        self._read = read_ahead(_prepared(source, self._segmenter, objects), max(4, self._batch))
        # Frames that are not yet answered, by number; and the last that was handed over.
        self._waiting: dict[int, SourceFrame] = {}
        self._done = -1
        self._frames = self._segment()

    def __iter__(self) -> Iterator[SegmentedFrame]:
        return self._frames

    @property
    def track_scores(self) -> TrackScores | None:
        """As of :class:`VideoSegmenter`, once the video has ended."""
        return self._segmenter.track_scores

    def rest(self) -> Iterator[SegmentedFrame]:
        """Ends the video early, with the frames that the model has taken and not handed over.

        Also when an exception has ended the iteration.
        """
        self._frames.close()
        yield from self._answered(self._segmenter.finish())

    def close(self) -> None:
        """Ends the reading ahead."""
        self._frames.close()

    def _segment(self) -> Iterator[SegmentedFrame]:
        with contextlib.closing(self._read):
            try:
                if count := self._segmenter.model.overview:
                    self._segmenter.look_over(_overview(self._source, count), self._batch)
                for some in _batches(self._read, self._batch):
                    first = self._segmenter.num_frames
                    self._waiting.update(enumerate((frame for frame, _ in some), first))
                    yield from self._answered(
                        self._segmenter.step_prepared([prepared for _, prepared in some])
                    )
                    del some
            except UserError:
                # First the frames that the model has taken before, unless the error is its own.
                answers = []
                with contextlib.suppress(UserError):
                    answers = self._segmenter.finish()
                yield from self._answered(answers)
                raise
            yield from self._answered(self._segmenter.finish())

    def _answered(self, answers: Iterable[tuple[int, FrameInstances]]) -> Iterator[SegmentedFrame]:
        for number, found in answers:
            if number <= self._done:
                continue
            frame = self._waiting.pop(number)
            self._done = number
            yield SegmentedFrame(frame.image, frame.index, frame.name, found, frame.seconds)


def _overview(
    source: FrameSource | Iterable[np.ndarray], count: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Gives frames spread evenly over a video; none if it has no length, as that of a camera."""
    if isinstance(source, FrameSource):
        yield from ((place, frame.image) for place, frame in source.evenly(count))
    elif hasattr(source, '__len__') and hasattr(source, '__getitem__'):
        yield from ((place, source[place]) for place in evenly(len(source), count))


def _batches(
    frames: Iterable[tuple[SourceFrame, dict]], count: int
) -> Iterator[list[tuple[SourceFrame, dict]]]:
    """Groups frames of one size, in order; those before an error of the frames come first."""
    some: list[tuple[SourceFrame, dict]] = []
    try:
        for one in frames:
            if some and one[0].image.shape[:2] != some[0][0].image.shape[:2]:
                yield some
                some = []
            some.append(one)
            del one  # held no longer than it has to be
            if len(some) == count:
                yield some
                some = []
    except Exception:
        if some:
            yield some
        raise
    if some:
        yield some


def _prepared(
    frames: Iterable[SourceFrame | np.ndarray],
    segmenter: VideoSegmenter,
    objects: Objects | None,
) -> Iterator[tuple[SourceFrame, dict]]:
    for index, frame in enumerate(frames):
        if not isinstance(frame, SourceFrame):
            frame = SourceFrame(frame, index, f'{index:08d}')
        yield frame, segmenter.prepare(frame.image, objects and objects(frame))
