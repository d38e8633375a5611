"""Files that a test of given objects writes: index masks, or a result file of tracks."""

from __future__ import annotations

import abc
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.structures import InstanceData

from vispropnet.apis.vos_seeds import Seed
from vispropnet.datasets.index_masks import VOID, write_index_mask
from vispropnet.errors import UserError
from vispropnet.evaluation.region_contour_metric import drawn_ids
from vispropnet.evaluation.result_file import check_folder, check_writable, write_results
from vispropnet.evaluation.tracks import TrackAccumulator, TrackStore
from vispropnet.fileio import atomic_path


class VosOutput(abc.ABC):
    """Output of a test, video by video; tracks give the objects of all videos, or of none."""

    @abc.abstractmethod
    def begin(self, name: str, info: Mapping[str, Any], objects: Mapping[int, Seed | int]) -> None:
        """Begins a video.

        Args:
            name: Of the video.
            info: Of its first frame, as the data set gives it.
            objects: By number the track that gives an object, or its label.
        """

    @abc.abstractmethod
    def add(self, position: int, stem: str, found: InstanceData) -> None:
        """Takes in a frame, by its position in the video and the name of its file."""

    @abc.abstractmethod
    def end(self) -> None:
        """Ends the video."""

    @abc.abstractmethod
    def close(self) -> list[str]:
        """Completes the output; returns lines for the user."""


class IndexMasks(VosOutput):
    """A PNG for each frame, ``<folder>/<video>/<frame>.png``.

    Args:
        folder: The folder.
        prefix: Folder within the archive ``<folder>.zip``; None for no archive.
    """

    def __init__(self, folder: str | os.PathLike, prefix: str | None = None) -> None:
        self._folder, self._prefix = Path(folder), prefix
        if self._folder.exists() and not self._folder.is_dir():
            raise UserError(f'{folder} is a file: masks take a folder.')
        check_folder(self._folder / 'frame.png')
        self._video = ''
        self._written: list[str] = []

    def begin(self, name: str, info: Mapping[str, Any], objects: Mapping[int, Seed | int]) -> None:
        """Begins a video; see the base class."""
        if max(objects, default=0) >= VOID:
            raise UserError(
                f'video {name} has {max(objects)} objects, index masks hold {VOID - 1}: raise '
                '--score-thr, or write a result file (--out FILE.json).'
            )
        self._video = name

    def add(self, position: int, stem: str, found: InstanceData) -> None:
        """Writes a mask."""
        name = f'{self._video}/{stem}.png'
        write_index_mask(self._folder / name, drawn_ids(found))
        self._written.append(name)

    def end(self) -> None:
        """Ends the video; all is written."""

    def close(self) -> list[str]:
        """Packs the masks of this run, and no others that the folder holds."""
        lines = [f'masks: {self._folder}']
        if self._prefix is not None:
            path = self._folder.with_name(f'{self._folder.name}.zip')
            with atomic_path(path) as temporary, zipfile.ZipFile(temporary, 'w') as archive:
                for name in self._written:
                    archive.write(self._folder / name, self._prefix + name)
            lines.append(f'to upload: {path}')
        return lines


class TrackFile(VosOutput):
    """A result file in YouTube-VIS form, and its archive: each object is a track.

    A track has the category and score of the one that gives it, and its later masks count as
    propagated. Without such, the category is that of the annotation, and the score the mean over
    the frames.

    Args:
        path: The file, ``*.json``.
        category_ids: Category id of each label.
    """

    def __init__(self, path: str | os.PathLike, category_ids: Iterable[int | None]) -> None:
        check_writable(path)
        self._path, self._category_ids = Path(path), list(category_ids)
        self._store = TrackStore()
        self._tracks = TrackAccumulator()
        self._info: Mapping[str, Any] = {}
        self._objects: Mapping[int, Seed | int] = {}

    def begin(self, name: str, info: Mapping[str, Any], objects: Mapping[int, Seed | int]) -> None:
        """Begins a video; see the base class."""
        if not isinstance(info['video_id'], int):
            raise UserError(
                f'{self._path}: result files name videos by number, which data in YouTube-VIS form '
                f'have, and sequence {name} has not: give --out a folder for index masks.'
            )
        self._tracks, self._info, self._objects = TrackAccumulator(), info, objects

    def add(self, position: int, stem: str, found: InstanceData) -> None:
        """Takes in the masks of a frame."""
        ids, scores, rles = found.ids.tolist(), found.scores.tolist(), found.masks.rles()
        objects = [self._objects[number] for number in ids]
        labels, carried = objects, None
        if any(isinstance(one, Seed) for one in objects):
            labels, scores = [one.label for one in objects], [one.score for one in objects]
            carried = [one.frame != position for one in objects]
        self._tracks.add_frame(position, ids, labels, scores, rles, carried)

    def end(self) -> None:
        """Puts the tracks of the video aside."""
        info = self._info
        length = info['video_length']
        self._store.extend(self._tracks.results(info['video_id'], length, self._category_ids))

    def close(self) -> list[str]:
        """Writes the file and its archive."""
        write_results(self._path, self._store)
        return [f'results: {self._path} ({len(self._store)} tracks)']


def open_output(out: str | os.PathLike, dataset: Any, prefix: str | None) -> VosOutput:
    """Opens a result file for a name that ends in ``.json``, else a folder of index masks.

    Raises:
        UserError: if it cannot be written, or an archive of index masks is asked for without any.
    """
    if Path(out).suffix != '.json':
        return IndexMasks(out, prefix)
    if prefix is not None:
        raise UserError(f'--zip packs index masks: give --out a folder instead of {out}.')
    return TrackFile(out, dataset.metainfo['category_ids'])
