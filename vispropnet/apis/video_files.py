"""A video in; an annotated video, a result file and masks out (``tools/demo_video.py``)."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from vispropnet.apis.segmentation import SegmentedFrame, VideoSegmentation
from vispropnet.apis.video_outputs import MaskOutput, Output, ResultOutput, VideoOutput
from vispropnet.engine.processes import hold_interrupts
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.video import FrameSource


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
) -> Outcome:
    """Segments a video and writes what was found, in memory that does not grow with its length.

    Files that were begun are completed also when Ctrl-C or bad input ends it early, with the frames
    up to there.

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

    Returns:
        What was found and written, also when bad input or a full disk ended it early.

    Raises:
        UserError: before anything is done, if an output does not fit or is the input.
    """
    _spare_the_input(source, video, masks)
    outputs: list[Output] = []
    if video is not None:
        outputs.append(VideoOutput(video, source.fps, fps, model.classes))
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
            frames = VideoSegmentation(model, source, score_threshold, scale, batch)
            _segment(frames, source, outputs, outcome)
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
    # Masks take the names of the frames that they are of.
    if source.kind == 'folder' and masks is not None and os.path.exists(masks):
        path = Path(source.path)
        if os.path.samefile(masks, path if path.is_dir() else path.parent):
            raise UserError(f'{masks} holds the input: name another folder for the masks.')
