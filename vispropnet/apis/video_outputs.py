"""What is written of a segmented video, frame by frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vispropnet.apis.segmentation import SegmentedFrame
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


class VideoOutput:
    """The frames with their instances drawn, as a video."""

    def __init__(
        self, path: str | os.PathLike, fps: float | None, codec: str, names: Sequence[str]
    ) -> None:
        self._path, self._names = os.fspath(path), names
        self._writer, self._labeller = VideoWriter(path, fps, codec), Labeller()

    def __enter__(self) -> VideoOutput:
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
        """What the user should hear, in sentences."""
        return self._writer.notes()

    def files(self) -> list[str]:
        """What was written."""
        return [self._path] if self._writer.frames else []


class ResultOutput:
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

    def __enter__(self) -> ResultOutput:
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
        """What the user should hear, in sentences."""
        return []

    def files(self) -> list[str]:
        """What was written."""
        return self._written


class MaskOutput:
    """One PNG per frame."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self._folder = Path(folder)
        if self._folder.exists() and not self._folder.is_dir():
            raise UserError(f'{folder} is a file: masks take a folder.')
        check_folder(self._folder / 'frame.png')
        self._others = sum(1 for _ in self._folder.glob('*.png'))
        self._frames = 0

    def __enter__(self) -> MaskOutput:
        return self

    def __exit__(self, *error: Any) -> None:
        """Each file was complete when it was written."""

    def add(self, frame: SegmentedFrame, rles: list[RLE]) -> None:
        """Writes the masks of a frame."""
        found = frame.instances
        path = self._folder / f'{Path(frame.name).stem}.png'
        self._others -= path.exists()
        write_mask_png(
            path,
            found.ids,
            found.masks.numpy(),
            found.scores,
        )
        self._frames += 1

    def notes(self) -> list[str]:
        """What the user should hear, in sentences."""
        if not self._others:
            return []
        others = f'{self._others} other PNG files'
        return [f'{self._folder} holds {others}, which are not of this run.']

    def files(self) -> list[str]:
        """What was written."""
        return [f'{self._folder} ({self._frames} PNG files)'] if self._frames else []
