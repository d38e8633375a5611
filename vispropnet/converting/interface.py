"""What a reader of a form gives: videos, then their objects."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from vispropnet.datasets.check_report import Report
from vispropnet.errors import UserError

RLE = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How to read, as the command line says it; a form takes some of them."""

    images: Path | None = (
        None  # folder or video file with the frames, where the form leaves it open
    )
    categories: Path | None = None  # JSON file with the names of ids
    split: str | None = None
    # Of frames without a file of masks: 'error', 'empty' (no object), 'unannotated'.
    missing: str = 'error'
    id_from: str | None = None  # 'group_id', 'label-suffix' or 'iou'; None chooses


@dataclass(frozen=True)
class SourceVideo:
    """A video of the source: its images in the order of time, or a video file.

    Positions of frames count from 0 over all frames of the source.
    """

    name: str  # may have slashes
    images: Sequence[Path] = ()
    file: Path | None = None
    more: Any = None  # what the reader wants to find again
    folder: str | None = None  # in the output's folder of frames; None for the name

    def place(self, frame: int | None = None, path: Path | str | None = None) -> dict[str, Any]:
        """Names a place for findings: the video, a frame's position, a file."""
        found = {'video_id': self.name, 'frame': frame}
        if path is None and frame is not None and frame < len(self.images):
            path = self.images[frame]
        found['file_name'] = None if path is None else str(path)
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class Frames:
    """The frames of a video that are converted."""

    positions: list[int]  # in the source
    names: list[str]  # in the output's folder of frames
    size: tuple[int, int]  # height and width in the source, pixels
    new_size: tuple[int, int]  # in the output
    total: int  # frames of the source
    seconds: list[float] | None = None  # times of showing, of video files


@dataclass
class Track:
    """An object of a video."""

    key: Any  # tells it from the video's other objects, for messages
    category: str
    masks: dict[int, RLE] = field(default_factory=dict)  # compressed, by position in the source
    is_crowd: bool = False


@dataclass(frozen=True)
class Annotations:
    """The objects of a video."""

    tracks: list[Track]
    annotated: list[int] | None = None  # positions of annotated frames; None for all


class Reader(abc.ABC):
    """Reads data sets of one form. What is wrong goes into the report, all of it.

    Args:
        source: File or folder.
        options: The options; one that the form does not take is an error.
        report: Takes what is found.

    Attributes:
        takes: Names of the options that the form takes.
        step: Every so many frames of the source come, unless the user says it.
        categories: Ids by name, where the source has them.
    """

    takes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, source: Path, options: Options, report: Report) -> None:
        default = Options()
        for name in vars(options):
            if getattr(options, name) != getattr(default, name) and name not in self.takes:
                raise UserError(
                    f'--{name.replace("_", "-")} is not for this form, which takes '
                    f'{self._options()}.'
                )
        if not source.exists():
            raise UserError(f'{source} not found: expected the data set to be converted.')
        self.source, self.options, self.report = source, options, report
        self.categories: dict[str, int] = {}
        self.step = 1

    @abc.abstractmethod
    def videos(self) -> Iterable[SourceVideo]:
        """Lists the videos, without a look into frames and masks."""

    @abc.abstractmethod
    def annotations(self, video: SourceVideo, frames: Frames) -> Annotations:
        """Reads the objects of a video, on the frames that are converted."""

    def notes(self) -> list[str]:
        """Says, after all was read, what was done where the form leaves it open."""
        return []

    def _options(self) -> str:
        return ', '.join(f'--{one.replace("_", "-")}' for one in sorted(self.takes)) or 'none'
