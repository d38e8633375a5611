"""Result files made into other forms, whole or not at all."""

from __future__ import annotations

import abc
import importlib
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from vispropnet.converting import EXPORTS
from vispropnet.converting.interface import RLE
from vispropnet.datasets.annotation_rules import AnnotationFile
from vispropnet.datasets.annotation_values import is_number, name_fault
from vispropnet.datasets.check_report import StrictReport
from vispropnet.datasets.rle import checked_rles
from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import iter_sound_results
from vispropnet.fileio import atomic_folder, read_json


@dataclass(frozen=True)
class ExportTrack:
    """A track of a video."""

    number: int  # from 1, the best score first
    category: str
    category_id: int
    score: float
    rles: list[RLE | None]  # one per frame, compressed


@dataclass(frozen=True)
class ExportVideo:
    """A video with its tracks, the best score first."""

    name: str
    files: list[str]  # of the frames, as the annotation file has them
    size: tuple[int, int]  # height and width, pixels
    tracks: list[ExportTrack]

    def id_map(self, frame: int) -> np.ndarray:
        """Draws the numbers of the tracks on a frame, those of better scores in front.

        Returns:
            (H, W) uint8, or uint16 if there are more than 254 tracks; 0 where there is none.
        """
        ids = np.zeros(self.size, np.uint8 if len(self.tracks) < 255 else np.uint16)
        for track in reversed(self.tracks):
            if track.rles[frame] is not None:
                ids[mask_utils.decode(track.rles[frame]).view(bool)] = track.number
        return ids


class Writer(abc.ABC):
    """Writes videos in one form.

    Args:
        folder: An empty folder to write to.
        final: The folder that it will be.
        images: Folder that the files of frames start from; None if it is not known.

    Attributes:
        entries: Names of what it makes in the folder.
    """

    entries: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path, final: Path, images: Path | None) -> None:
        self.folder, self.final, self.images = folder, final, images

    @abc.abstractmethod
    def add(self, video: ExportVideo) -> None:
        """Writes a video."""

    def finish(self, categories: dict[int, str]) -> None:
        """Writes what is of all videos; ``categories`` are the names by id."""
        return


def export(
    form: str,
    results: str | os.PathLike,
    annotations: str | os.PathLike,
    out: str | os.PathLike,
    images: str | os.PathLike | None = None,
    score_threshold: float = 0.3,
    force: bool = False,
    progress: bool = True,
) -> tuple[int, int]:
    """Writes the tracks of a result file in another form.

    Args:
        form: A key of ``EXPORTS``.
        results: The result file, or its archive.
        annotations: Annotation file of the same videos, with or without annotations.
        out: Folder to make.
        images: Folder that the file names of frames start from.
        score_threshold: Tracks from this score on are written.
        force: Whether to replace a folder that was made so.
        progress: Whether to show progress (on a terminal).

    Returns:
        Numbers of videos and tracks.

    Raises:
        UserError: if a file is not what it should be, or ``out`` is taken.
    """
    if form not in EXPORTS:
        raise UserError(f'unknown format {form!r}; expected one of {", ".join(EXPORTS)}.')
    if not is_number(score_threshold) or not 0 <= score_threshold <= 1:
        raise UserError(f'the score threshold must be within [0, 1], got {score_threshold!r}.')
    if images is not None and not os.path.isdir(images):
        raise UserError(f'folder of frames not found: {images}.')
    writer_class = importlib.import_module(f'vispropnet.converting.writers.{form}').Writer
    report = StrictReport(f'annotation file {annotations}')
    file = AnnotationFile(read_json(annotations, 'annotation file'), report)
    videos = _videos(file, results, score_threshold)
    tracks = 0
    with atomic_folder(out, 'folder of exported results', writer_class.entries, force) as made:
        writer = writer_class(made, Path(out).resolve(), images and Path(images).resolve())
        for video in tqdm(videos, 'videos', unit='video', disable=None if progress else True):
            writer.add(video)
            tracks += len(video.tracks)
        writer.finish(file.categories)
    return len(file.videos), tracks


def _videos(
    file: AnnotationFile, results: str | os.PathLike, threshold: float
) -> Iterator[ExportVideo]:
    by_video: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, one in enumerate(iter_sound_results(results)):
        where = f'result file {results}: entry {number}'
        for key, known in (('video_id', file.by_id), ('category_id', file.categories)):
            if one[key] not in known:
                raise UserError(f'{where}: {key} {one[key]} is not in the annotation file.')
        if one['score'] >= threshold:
            video = file.by_id[one['video_id']].value
            one['segmentations'] = checked_rles(one['segmentations'], video, where)
            by_video[one['video_id']].append(one)
    names = _names(file)
    for identity, video in file.by_id.items():
        ordered = sorted(by_video.pop(identity, ()), key=lambda one: -one['score'])
        tracks = [
            ExportTrack(
                number,
                str(file.categories[one['category_id']]),
                one['category_id'],
                one['score'],
                one['segmentations'],
            )
            for number, one in enumerate(ordered, 1)
        ]
        size = video.known['height'], video.known['width']
        yield ExportVideo(names[identity], list(video.names), size, tracks)


def _names(file: AnnotationFile) -> dict[int, str]:
    """Names the videos by id: by what the file says, or their folders; those alike by id."""
    names = {}
    for identity, video in file.by_id.items():
        name = video.value.get('name') or os.path.dirname(video.names[0].replace('\\', '/'))
        names[identity] = name if name and name_fault(name) is None else str(identity)
    alike = len(set(names.values())) < len(names)
    return {one: str(one) for one in names} if alike else names
