"""Entries of annotation and result files: videos and tracks, with their places in the file."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vispropnet.datasets.annotation_values import is_id
from vispropnet.datasets.check_report import Report
from vispropnet.text import shown


class Entry:
    """An object of a file, and where findings about it go.

    Args:
        value: The object, as it stands in the file.
        report: Takes what is found.
        place: Place in the file, as in :class:`~vispropnet.datasets.check_report.Finding`.
    """

    names: list[Any] | None = None  # file_names of the video, if that is a list

    def __init__(self, value: Any, report: Report, place: dict[str, Any]) -> None:
        self.value, self.report, self.place = value, report, place

    def error(self, kind: str, text: str, frame: int | None = None, **more: Any) -> None:
        """Reports an error of the entry or one of its frames; see ``Report.error``."""
        self.report.error(kind, text, **self._place_of(frame), **more)

    def warn(self, kind: str, text: str, frame: int | None = None, **more: Any) -> None:
        """Reports something odd in the entry or one of its frames; see ``Report.warn``."""
        self.report.warn(kind, text, **self._place_of(frame), **more)

    def is_object(self) -> bool:
        """Says if the value is a JSON object; anything else is reported."""
        if not isinstance(self.value, dict):
            self.error('structure', f'must be an object, found {shown(self.value)}')
        return isinstance(self.value, dict)

    def found(self, key: str) -> str:
        """Words what stands at a key, for messages."""
        return f'found {shown(self.value[key])}' if key in self.value else 'but it is missing'

    def take_id(self, key: str) -> int | None:
        """Takes an id; None, and reported, if it is missing or no integer."""
        value = self.value.get(key)
        if key not in self.value:
            self.error('structure', f'key {key!r} is missing, expected an integer')
        elif not is_id(value):
            bound = ' of at most 64 bits' * (type(value) is int)
            self.error('structure', f'{key!r} must be an integer{bound}, found {shown(value)}')
        return value if is_id(value) else None

    def take_reference(self, what: str, known: Collection[int]) -> int | None:
        """Takes the id of a ``'video'`` or ``'category'``, reported unless it is a known one.

        Returns:
            The id, known or not; None if it is no id.
        """
        key, plural = f'{what}_id', {'video': 'videos', 'category': 'categories'}[what]
        identity = self.take_id(key)
        if identity is None:
            return None
        if what == 'video':
            self.place[key] = identity
        if identity not in known:
            text = f'{key} {identity} is not among the {plural} of the annotation file'
            self.error(f'unknown {what}', text)
        return identity

    def check_length(self, key: str, frames: int | None) -> None:
        """Checks that there is a list with an entry for each of so many frames (None: any)."""
        entries = self.value[key]
        if not isinstance(entries, list):
            self.error('structure', f'{key!r} must be a list, found {shown(entries)}')
        elif frames is not None and len(entries) != frames:
            text = f'{key!r} has {len(entries)} entries, but the video has {frames} frames'
            self.error('number of entries', text)

    def _place_of(self, frame: int | None) -> dict[str, Any]:
        if frame is None:
            return self.place
        place = {**self.place, 'frame': frame}
        if self.names is not None and frame < len(self.names):
            place['file_name'] = self.names[frame]
        return place


class Video(Entry):
    """An entry of ``videos``; of its ``names``, single ones may be unusable."""

    def __init__(self, value: Any, report: Report, place: dict[str, Any]) -> None:
        super().__init__(value, report, place)
        self.known: dict[str, int] = {}  # id, height and width as far as they are sound
        self.frames: int | None = None  # their number, if it is known
        self.annotated: list[int] | None = None  # their annotated_frames; None for all


# Stands for a video that the file does not list.
NO_VIDEO = Video({}, Report(''), {})


class Track(Entry):
    """An annotation or a result with a list of masks, and its video."""

    def __init__(self, entry: Entry, video: Video) -> None:
        super().__init__(entry.value, entry.report, entry.place)
        self.video, self.names = video, video.names
        self.masks: list[Any] = list(entry.value['segmentations'])

    def per_frame(self, key: str) -> list[Any]:
        """Takes a list that goes with the masks; empty if there is none of their length."""
        entries = self.value.get(key)
        return entries if isinstance(entries, list) and len(entries) == len(self.masks) else []


def take_track(entry: Entry, video: Video) -> Track | None:
    """Takes the masks of an annotation or a result, not looking into them.

    Returns:
        The track; None, and reported, if it has no list of masks.
    """
    if 'segmentations' not in entry.value:
        text = "key 'segmentations' is missing, expected a list with one RLE or null per frame"
        entry.error('structure', text)
        return None
    entry.check_length('segmentations', video.frames)
    return Track(entry, video) if isinstance(entry.value['segmentations'], list) else None
