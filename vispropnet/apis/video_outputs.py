"""A video in; an annotated video, a result file and masks out (``tools/demo_video.py``)."""

from __future__ import annotations

import abc
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vispropnet.apis.object_segmenter import GivenMasks
from vispropnet.apis.segmentation import SegmentedFrame, VideoSegmentation
from vispropnet.datasets.rle import RLE
from vispropnet.engine.processes import hold_interrupts
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import check_folder, write_results
from vispropnet.evaluation.tracks import TrackAccumulator
from vispropnet.fileio import write_json
from vispropnet.models.detectors import VISDetector
from vispropnet.models.frames import TrackScores
from vispropnet.video import FrameSource
from vispropnet.video.writer import VideoWriter
from vispropnet.visualization.labels import Labeller
from vispropnet.visualization.mask_png import write_mask_png
from vispropnet.visualization.overlay import draw_instances, readable_scale
from vispropnet.visualization.text import drawable_names

# The one video of a result file.
VIDEO_ID = 1


@dataclass
class Outcome:
    """Outcome of segmenting a video."""

    frames: int = 0
    instances: int = 0
    seconds: float = 0.0  # without loading the model
    interrupted: bool = False  # by Ctrl-C
    error: UserError | None = None  # that ended it early
    notes: tuple[str, ...] = ()  # sentences for the user
    files: tuple[str, ...] = ()  # that were written


def segment_to_files(
    model: VISDetector,
    source: FrameSource,
    video: str | os.PathLike | None = None,
    results: str | os.PathLike | None = None,
    masks: str | os.PathLike | None = None,
    score_threshold: float = 0.3,
    scale: tuple[int, int] | None = None,
    fps: float | None = None,
    batch: int | None = None,
    masks_in: str | os.PathLike | None = None,
) -> Outcome:
    """Segments a video and writes what was found, in memory that does not grow with its length.

    Files are completed also when Ctrl-C, bad input or a full disk ends it early.

    Args:
        model: Made by :func:`~vispropnet.apis.models.init_model`.
        source: Opened by :func:`~vispropnet.video.open_source`.
        video: MP4 file with the instances drawn. Track ``n`` is labelled ``#n`` in it.
        results: Result file in the official form (``*.json``), of one video with id 1; beside it
            ``<stem>_video.json`` describes the video in YouTube-VIS form.
        masks: Folder for one PNG per frame, in which track ``n`` has the value ``n``.
        score_threshold: Instances that score less are left out.
        scale: (width, height) that frames are fitted into for the network.
        fps: Frames a second of the video; by default its frames keep their times.
        batch: As in :func:`~vispropnet.apis.segmentation.segment_video`.
        masks_in: Index mask of the first frame, or a folder of index masks named as the frames; for
            models that take objects. Object ``n`` is track ``n``.

    Raises:
        UserError: before anything is done, if an output does not fit or is the input.
    """
    _spare_the_input(source, video, masks)
    given = GivenMasks.of_model(model, masks_in)
    outputs: list[Output] = []
    if video is not None:
        names = drawable_names(dict(zip(model.category_ids, model.classes, strict=True)))
        outputs.append(VideoOutput(video, source, fps, list(names.values())))
    if results is not None:
        outputs.append(ResultOutput(results, model, source.name))
    if masks is not None:
        outputs.append(MaskOutput(masks))
    outcome = Outcome()
    start = time.perf_counter()
    try:
        with contextlib.ExitStack() as stack:
            for output in outputs:
                stack.enter_context(output)
            frames = VideoSegmentation(model, source, score_threshold, scale, batch, given)
            _segment(frames, source, outputs, outcome)
            if given is not None and not outcome.interrupted:
                given.check_used()
    except UserError as error:
        outcome.error = error
    outcome.seconds = time.perf_counter() - start
    outcome.notes = (*source.notes(), *(note for output in outputs for note in output.notes))
    outcome.files = tuple(path for output in outputs for path in output.files)
    return outcome


def _segment(
    frames: VideoSegmentation, source: FrameSource, outputs: Sequence[Output], outcome: Outcome
) -> None:
    """Writes what is found in the frames into the outputs."""
    options = dict(total=source.length, unit='frame', desc='segmenting', dynamic_ncols=True)
    # A process without a terminal may have no standard error at all.
    bar = tqdm(**options, disable=sys.stderr is None)
    with contextlib.closing(frames), bar:
        try:
            for frame in frames:
                _write(frame, outputs, outcome, bar)
        except KeyboardInterrupt:
            outcome.interrupted = True
            if outputs and outcome.frames and not bar.disable:
                bar.write('interrupted: completing the files; once more drops them', sys.stderr)
            # Frames that the model has taken in and not yet answered.
            for frame in frames.rest():
                _write(frame, outputs, outcome, bar)
        finally:
            for output in outputs:
                output.track_scores = frames.track_scores
    if not outcome.interrupted:
        for output in outputs:
            output.end = source.end
    if not outcome.frames and not outcome.interrupted:
        raise UserError(f'{source.name}: there is no frame to segment.')


def _write(frame: SegmentedFrame, outputs: Sequence[Output], outcome: Outcome, bar: tqdm) -> None:
    """Writes a frame to all outputs; an interruption comes after that."""
    with hold_interrupts():
        rles = frame.instances.masks.rles()
        for output in outputs:
            output.add(frame, rles)
        outcome.frames += 1
        outcome.instances += len(rles)
        bar.update()


def _spare_the_input(
    source: FrameSource, video: str | os.PathLike | None, masks: str | os.PathLike | None
) -> None:
    """Raises an error if an output would take the place of the input."""
    if video is not None and os.path.exists(video) and os.path.samefile(video, source.path):
        raise UserError(f'{video} is the input: name another file for the output.')
    # Masks take the names of the frames that they are of, and numbers.
    path = Path(source.path)
    if source.kind == 'folder' or path.suffix.lower() == '.png':
        folder = path if path.is_dir() else path.parent
        if masks is not None and os.path.exists(masks) and os.path.samefile(masks, folder):
            raise UserError(f'{masks} holds the input: name another folder for the masks.')


class Output(contextlib.AbstractContextManager):
    """One kind of output; a context manager, complete when it is left, also by an exception.

    Attributes:
        files: Names of the files that were written, once it is left.
        notes: Remarks for the user, in sentences.
        end: Seconds since the source's first frame when its last is over; None if unknown, or not
            all was segmented.
        track_scores: Categories and scores of the tracks by the model's own rule, at the end.
    """

    end: float | None = None
    track_scores: TrackScores | None = None
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @abc.abstractmethod
    def add(self, frame: SegmentedFrame, rles: list[RLE]) -> None:
        """Takes in a frame."""


class VideoOutput(Output):
    """The frames with their instances drawn, as a video.

    Args:
        path: The file, ``*.mp4``.
        source: The input.
        fps: Frames a second of the output; None keeps the times of the frames.
        names: Of the categories.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        source: FrameSource,
        fps: float | None,
        names: Sequence[str],
    ) -> None:
        self._path, self._names = os.fspath(path), names
        self._keeps_times = fps is None
        self._writer = VideoWriter(path, source.fps if fps is None else fps, source.pixel_aspect)
        self._labeller = Labeller()

    def __enter__(self) -> VideoOutput:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.end = self.end if self._keeps_times else None
        try:
            self._writer.__exit__(*error)
        finally:
            self.files = (self._path,) if self._writer.frames else ()

    def add(self, frame: SegmentedFrame, rles: list[RLE]) -> None:
        """Draws and writes a frame."""
        found = frame.instances
        height, width = frame.image.shape[:2]
        drawn = draw_instances(
            frame.image,
            rles,
            (found.ids + 1).tolist(),
            found.labels.tolist(),
            found.scores.tolist(),
            self._names,
            scale=readable_scale(width, height),
            propagated=found.propagated.tolist(),
            labeller=self._labeller,
        )
        self._writer.write(drawn, frame.seconds if self._keeps_times else None)


class ResultOutput(Output):
    """The tracks as a result file, and the video as an annotation file without annotations.

    The video has ``timestamps`` beside its ``file_names``: seconds since the input's first frame.
    """

    def __init__(self, path: str | os.PathLike, model: VISDetector, name: str) -> None:
        self._path = Path(path)
        if self._path.suffix != '.json':
            raise UserError(f'result file {path} must be named .json.')
        if self._path.is_dir():
            raise UserError(f'result file {path} is a folder; give the name of a file.')
        check_folder(self._path)
        self._model, self._name = model, name
        self._tracks = TrackAccumulator()
        self._size: tuple[int, int] | None = None
        self._file_names: list[str] = []
        self._timestamps: list[float] = []

    def __exit__(self, *error: Any) -> None:
        if self._size is None:
            return
        (height, width), names, ids = self._size, self._file_names, self._model.category_ids
        video = dict(id=VIDEO_ID, width=width, height=height, length=len(names), file_names=names)
        if self._timestamps:
            video['timestamps'] = self._timestamps
        pairs = zip(ids, self._model.classes, strict=True)
        categories = [dict(id=number, name=name) for number, name in pairs]
        content = dict(info=dict(source=self._name), videos=[video], categories=categories)
        description = self._path.with_name(f'{self._path.stem}_video.json')
        try:
            results = self._tracks.results(VIDEO_ID, len(names), ids, self.track_scores)
            write_results(self._path, results, archive=False)
            write_json(description, content)
        except OSError as error:
            raise UserError(f'cannot write {self._path}: {error.strerror or error}.') from None
        self.files = (os.fspath(self._path), os.fspath(description))

    def add(self, frame: SegmentedFrame, rles: list[RLE]) -> None:
        """Takes in a frame."""
        found = frame.instances
        self._size = frame.image.shape[:2]
        place = len(self._file_names)
        self._tracks.add_frame(place, found.ids, found.labels, found.scores, rles, found.propagated)
        self._file_names.append(frame.name)
        if frame.seconds is not None:
            self._timestamps.append(round(frame.seconds, 6))


class MaskOutput(Output):
    """One PNG per frame, each complete when it is written."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self._folder = Path(folder)
        if self._folder.exists() and not self._folder.is_dir():
            raise UserError(f'{folder} is a file: masks take a folder.')
        check_folder(self._folder / 'frame.png')
        self._others = sum(1 for _ in self._folder.glob('*.png'))
        self._frames = 0

    def __exit__(self, *error: Any) -> None:
        if self._frames:
            self.files = (f'{self._folder} ({self._frames} PNG files)',)
        if self._others:
            others = f'{self._others} other PNG files'
            self.notes = (f'{self._folder} holds {others}, which are not of this run.',)

    def add(self, frame: SegmentedFrame, rles: list[RLE]) -> None:
        """Writes the masks of a frame."""
        found = frame.instances
        path = self._folder / f'{Path(frame.name).stem}.png'
        self._others -= path.exists()
        write_mask_png(path, found.ids, found.masks.numpy(), found.scores)
        self._frames += 1
