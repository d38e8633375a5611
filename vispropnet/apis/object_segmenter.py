"""Segments given objects in the frames of one video, one by one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vispropnet.apis.segmenter import VideoSegmenter
from vispropnet.datasets.index_masks import ids_in, mask_files, read_index_mask
from vispropnet.errors import UserError
from vispropnet.models.detectors import VISDetector
from vispropnet.video import SourceFrame


class VideoObjectSegmenter:
    """Segments given objects in the frames of one video, one by one.

    Args:
        model: Made by :func:`~vispropnet.apis.models.init_model`, of a kind that takes objects.
            Several segmenters may share it.
        scale: As in :class:`~vispropnet.apis.segmenter.VideoSegmenter`.

    Raises:
        UserError: if the model takes no objects.
    """

    def __init__(self, model: VISDetector, scale: tuple[int, int] | None = None) -> None:
        _check_takes_objects(model, True)
        self._segmenter = VideoSegmenter(model, scale=scale)

    def reset(self) -> None:
        """Forgets the video; the next frame is the first of another."""
        self._segmenter.reset()

    def step(
        self, frame: np.ndarray, masks: np.ndarray | Mapping[int, np.ndarray] | None = None
    ) -> np.ndarray:
        """Takes the next frame of the video.

        Args:
            frame: (H, W, 3) uint8, BGR.
            masks: Objects that are given in this frame: (H, W) ids, 0 where there is none, or (H,
                W) bool masks by id, from 1.

        Returns:
            (H, W) int64 ids of all objects given so far, 0 where there is none.

        Raises:
            UserError: if a mask does not fit the frame, is empty, or of an object known already.
        """
        if isinstance(masks, np.ndarray):
            masks = {int(one): masks == one for one in np.unique(masks) if one}
        if masks and min(masks) < 1:
            raise UserError(f'ids of objects are 1 or more, got {min(masks)}.')
        prepared = self._segmenter.prepare(frame, masks)
        ((_, found),) = self._segmenter.step_prepared([prepared])
        ids = np.zeros(frame.shape[:2], np.int64)
        for number, mask in zip(found.ids, found.masks.numpy(), strict=True):
            ids[mask] = number
        return ids


class GivenMasks:
    """Masks of given objects, from files.

    An id counts in the first mask that has it; track n is object n, as in the masks that are
    written. Called with a frame of a source, gives the masks of its new objects, by track.

    Args:
        path: Index mask of the first frame, or a folder of index masks, each named as its frame, or
            by the frame's number.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = Path(path)
        self._files: dict[str, Path] | None = None
        if self._path.is_dir():
            self._files = {file.stem: file for file in mask_files(self._path)}
        elif not self._path.is_file():
            raise UserError(f'mask not found: {path}')
        self._known: set[int] = set()
        self._frames, self._first = 0, 0  # number of frames; the first that gives an object

    @classmethod
    def of_model(cls, model: VISDetector, path: str | os.PathLike | None) -> GivenMasks | None:
        """Opens the masks for a model that takes objects; None for one that does not.

        Raises:
            UserError: if there are masks for a model that takes none, or none for one that does.
        """
        _check_takes_objects(model, path is not None)
        return None if path is None else cls(path)

    def __call__(self, frame: SourceFrame) -> dict[int, np.ndarray]:
        """Gives the (H, W) bool masks of the objects that the frame is the first to show."""
        first, self._frames = self._frames == 0, self._frames + 1
        file = self._path if self._files is None and first else None
        if self._files is not None:
            names = (Path(frame.name).stem, f'{frame.index:05d}', str(frame.index))
            file = next((self._files[name] for name in names if name in self._files), None)
        if file is None:
            return {}
        ids = read_index_mask(file, frame.image.shape[:2])
        new = [one for one in ids_in(ids) if one not in self._known]
        if self._files is None and not new:
            raise UserError(f'mask {file} shows no object (255 is void; ids are 1 to 254).')
        if new and not self._known:
            self._first = self._frames - 1
        self._known.update(new)
        # Written masks and labels count tracks from 1.
        return {one - 1: ids == one for one in new}

    def check_used(self) -> None:
        """Raises a UserError if no frame had a mask that shows an object, or only the last."""
        if not self._known:
            raise UserError(
                f'{self._path}: none of its masks shows an object in one of the {self._frames} '
                'frames. Name masks as the frames are named, or by their numbers.'
            )
        if 0 < self._first == self._frames - 1:
            raise UserError(
                f'{self._path}: the first mask that shows an object is that of the last of the '
                f'{self._frames} frames, so there is no frame to segment. Give the mask of the '
                'first frame that shows the object.'
            )


def _check_takes_objects(model: VISDetector, given: bool) -> None:
    name = type(model).__name__
    if given and not model.takes_objects:
        raise UserError(f'{name} finds objects by itself: masks cannot be given to it.')
    if not given and model.takes_objects:
        raise UserError(
            f'{name} segments objects that are given by masks: pass --masks-in PNG, the index mask '
            'of the first frame.'
        )
