"""A video in; an annotated video, a result file and masks out (``tools/demo_video.py``)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vispropnet.apis.segmenter import SegmentedFrame, segment_video
from vispropnet.datasets.frame_sources import FrameSource
from vispropnet.datasets.rle import RLE
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import check_folder, write_results
from vispropnet.evaluation.tracks import TrackAccumulator
from vispropnet.fileio import write_json
from vispropnet.models.detectors import VISDetector
from vispropnet.visualization.labels import Labeller
from vispropnet.visualization.mask_png import write_mask_png
from vispropnet.visualization.overlay import draw_instances
from vispropnet.visualization.video_writer import VideoWriter

# The one video of a result file.
VIDEO_ID = 1
# Frames smaller than this are enlarged by a whole factor, so that labels can be read.
_MIN_WIDTH = 480


@dataclass
class Outcome:
    """What came of it.

    Args:
        frames: How many were segmented.
        instances: How many instances were found in them.
        seconds: How long it took, without loading the model.
        interrupted: Whether Ctrl-C ended it.
        error: What else ended it early.
        notes: What the user should hear, in sentences.
        files: What was written.
    """

    frames: int = 0
    instances: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    error: UserError | None = None
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def segment_to_files(
    model: VISDetector,
    source: FrameSource,
    video: str | os.PathLike | None = None,
    results: str | os.PathLike | None = None,
    masks: str | os.PathLike | None = None,
    score_threshold: float = 0.3,
    scale: tuple[int, int] | None = None,
    fps: float | None = None,
    codec: str = 'auto',
) -> Outcome:
    """Segments a video and writes what was found, in memory that does not grow with its length.

    Files that were begun are completed also when Ctrl-C or bad input ends it early, with the frames
    up to there.

    Args:
        model: What :func:`~vispropnet.apis.models.init_model` gave.
        source: What :func:`~vispropnet.datasets.frame_sources.open_source` opened.
        video: MP4 file with the instances drawn. Track ``n`` stands there as ``#n``.
        results: Result file in the official form (``*.json``), of one video with id 1; beside it
            ``<stem>_video.json`` describes the video in YouTube-VIS form.
        masks: Folder for one PNG per frame, in which track ``n`` has the value ``n``.
        score_threshold: Instances that score less are left out.
        scale: (width, height) that frames are fitted into for the network.
        fps: Frames a second of the video; by default the source's.
        codec: As in :class:`~vispropnet.visualization.video_writer.VideoWriter`.

    Returns:
        What came of it, also when bad input or a full disk ended it early.

    Raises:
        UserError: before anything is done, if an output cannot be written.
    """
    outputs = _outputs(model, source, video, results, masks, fps, codec)
    outcome = Outcome()
    start = time.perf_counter()
    try:
        with contextlib.ExitStack() as stack:
            for output in outputs:
                stack.enter_context(output)
            _segment(model, source, outputs, outcome, score_threshold, scale)
    except UserError as error:
        outcome.error = error
    outcome.seconds = time.perf_counter() - start
    outcome.notes = (*source.notes(), *(note for output in outputs for note in output.notes()))
    outcome.files = tuple(path for output in outputs for path in output.files())
    return outcome


def _segment(
    model: VISDetector,
    source: FrameSource,
    outputs: Sequence[_VideoOutput | _ResultOutput | _MaskOutput],
    outcome: Outcome,
    score_threshold: float,
    scale: tuple[int, int] | None,
) -> None:
    """Runs the video through the model and what is found into the outputs."""
    frames = segment_video(model, source, score_threshold, scale=scale)
    bar = tqdm(total=source.length, unit='frame', desc='segmenting', dynamic_ncols=True)
    with contextlib.closing(frames), bar:
        try:
            for frame in frames:
                rles = frame.instances.masks.rles()
                for output in outputs:
                    output.add(frame, rles)
                outcome.frames += 1
                outcome.instances += len(rles)
                bar.update()
        except KeyboardInterrupt:
            outcome.interrupted = True
    if not outcome.frames and not outcome.interrupted:
        raise UserError(f'{source.name}: there is no frame to segment.')


def _outputs(
    model: VISDetector,
    source: FrameSource,
    video: str | os.PathLike | None,
    results: str | os.PathLike | None,
    masks: str | os.PathLike | None,
    fps: float | None,
    codec: str,
) -> list[_VideoOutput | _ResultOutput | _MaskOutput]:
    outputs: list[_VideoOutput | _ResultOutput | _MaskOutput] = []
    if video is not None:
        outputs.append(
            _VideoOutput(video, source.fps if fps is None else fps, codec, model.classes)
        )
    if results is not None:
        outputs.append(_ResultOutput(results, model, source.name))
    if masks is not None:
        outputs.append(_MaskOutput(masks))
    return outputs


class _VideoOutput:
    """The frames with their instances drawn, as a video."""

    def __init__(
        self, path: str | os.PathLike, fps: float | None, codec: str, names: Sequence[str]
    ) -> None:
        self._path, self._names = os.fspath(path), names
        self._writer, self._labeller = VideoWriter(path, fps, codec), Labeller()

    def __enter__(self) -> _VideoOutput:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)

    def add(self, frame: SegmentedFrame, rles: list[RLE]) -> None:
        """Draws and writes a frame."""
        found = frame.instances
        self._writer.write(
            draw_instances(
                frame.image,
                rles,
                (found.ids + 1).tolist(),
                found.labels.tolist(),
                found.scores.tolist(),
                self._names,
                scale=-(-_MIN_WIDTH // frame.image.shape[1]),
                propagated=found.propagated.tolist(),
                labeller=self._labeller,
            )
        )

    def notes(self) -> list[str]:
        return self._writer.notes()

    def files(self) -> list[str]:
        return [self._path] if self._writer.frames else []


class _ResultOutput:
    """The tracks as a result file, and the video as an annotation file without annotations."""

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
        self._written: list[str] = []

    def __enter__(self) -> _ResultOutput:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._size is None:
            return
        description = self._path.with_name(f'{self._path.stem}_video.json')
        count, ids = len(self._file_names), self._model.category_ids
        try:
            write_results(self._path, self._tracks.results(VIDEO_ID, count, ids), archive=False)
            write_json(description, self._described())
        except OSError as error:
            raise UserError(f'cannot write {self._path}: {error.strerror or error}.') from None
        self._written = [os.fspath(self._path), os.fspath(description)]

    def add(self, frame: SegmentedFrame, rles: list[RLE]) -> None:
        """Takes in a frame."""
        found = frame.instances
        self._size = frame.image.shape[:2]
        place = len(self._file_names)
        self._tracks.add_frame(place, found.ids, found.labels, found.scores, rles, found.propagated)
        self._file_names.append(frame.name)

    def _described(self) -> dict[str, Any]:
        height, width = self._size
        video = dict(
            id=VIDEO_ID,
            width=width,
            height=height,
            length=len(self._file_names),
            file_names=self._file_names,
        )
        pairs = zip(self._model.category_ids, self._model.classes, strict=True)
        categories = [dict(id=number, name=name) for number, name in pairs]
        return dict(info=dict(source=self._name), videos=[video], categories=categories)

    def notes(self) -> list[str]:
        return []

    def files(self) -> list[str]:
        return self._written


class _MaskOutput:
    """One PNG per frame."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self._folder = Path(folder)
        check_folder(self._folder / 'masks')
        self._frames = 0

    def __enter__(self) -> _MaskOutput:
        return self

    def __exit__(self, *error: Any) -> None:
        """Each file was complete when it was written."""

    def add(self, frame: SegmentedFrame, rles: list[RLE]) -> None:
        """Writes the masks of a frame."""
        found = frame.instances
        write_mask_png(
            self._folder / f'{Path(frame.name).stem}.png',
            found.ids,
            found.masks.numpy(),
            found.scores,
        )
        self._frames += 1

    def notes(self) -> list[str]:
        return []

    def files(self) -> list[str]:
        return [f'{self._folder} ({self._frames} PNG files)'] if self._frames else []
