"""JSON files of LabelMe, one for a frame."""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.converting.interface import RLE, Annotations, Frames, SourceVideo
from vispropnet.converting.interface import Reader as Base
from vispropnet.converting.linking import TrackBook, link_by_iou
from vispropnet.converting.matching import (
    check_missing,
    entries,
    folders,
    frames_named,
    images_in,
    match_masks,
    source_video,
)
from vispropnet.converting.shapes import Drawing, box_polygon, ellipse_polygon
from vispropnet.datasets.annotation_values import is_number
from vispropnet.errors import UserError
from vispropnet.fileio import read_json
from vispropnet.text import shown

# A name and a number behind it: person_1, person-1, person 1, person1.
_SUFFIXED = re.compile(r'(.*?)[-_ ]?([0-9]+)')
_POINTS = {'polygon': None, 'rectangle': 2, 'circle': 2, 'mask': 2}
_WAYS = {
    'group_id': 'objects are told apart by the group_id of their shapes',
    'label-suffix': 'objects are told apart by the number at the end of their labels',
    'iou': 'objects were linked from frame to frame by mask IoU (0.3 or more)',
}


class Reader(Base):
    """Reads ``VIDEO/*.json`` beside the images, or the files of one video.

    Shapes are polygons, rectangles, circles and masks; those of one id on a frame are parts of one
    object. Ids come from ``group_id`` if all shapes have it, from a number at the end of the labels
    if all have one, or else from the overlap of masks, unless ``--id-from`` says.
    """

    takes = frozenset(('id_from', 'images', 'missing'))

    def videos(self) -> Iterable[SourceVideo]:
        """Lists the videos, and reads the shapes of their files."""
        with_files = [one for one in folders(self.source) if _json_files(one)]
        single = _json_files(self.source)
        self._files: dict[str, dict[Path, dict[str, Any]]] = {}
        found = []
        for folder in [self.source] if single else with_files:
            name = folder.resolve().name
            self._files[name] = contents = {
                path: one
                for path in _json_files(folder)
                if (one := self._content(path, name)) is not None
            }
            frames = self._frames_of(folder, bool(single), contents)
            if frames is None:
                text = 'there are no images for the JSON files'
                self.report.error('no frames', text, video_id=name, file_name=str(folder))
            elif (video := source_video(name, frames, self.report)) is not None:
                found.append(video)
        if not self._files:
            raise UserError(f'{self.source} holds no JSON files, nor folders that do.')
        self._way = self.options.id_from or self._choose()
        return found

    def annotations(self, video: SourceVideo, frames: Frames) -> Annotations:
        """Draws the shapes."""
        contents = self._files[video.name]
        files = match_masks(list(contents), video, frames, self.report)
        annotated = check_missing(files, video, frames, self.options.missing, self.report)
        drawing, book = Drawing(frames.size, self.report), TrackBook(video, self.report)
        unlinked: dict[int, list[tuple[str, RLE]]] = {}
        for position in frames.positions:
            content = contents[files[position]] if position in files else {'shapes': []}
            place = video.place(position, files.get(position))
            self._check_size(content, frames.size, place)
            parts = self._parts(content['shapes'], drawing, place)
            unlinked[position] = [(category, rle) for _, category, rle in parts]
            if self._way != 'iou':
                for key, category, rle in parts:
                    book.add(key, category, position, rle, path=files[position])
        if self._way == 'iou':
            return Annotations(link_by_iou(unlinked), annotated)
        return Annotations(book.tracks(), annotated)

    def notes(self) -> list[str]:
        """Says how objects were told apart."""
        how = 'as --id-from says' if self.options.id_from else '--id-from says another way'
        return [f'{_WAYS[self._way]} ({how}).']

    def _choose(self) -> str:
        shapes = [
            shape
            for contents in self._files.values()
            for content in contents.values()
            for shape in content['shapes']
        ]
        if shapes and all(shape.get('group_id') is not None for shape in shapes):
            return 'group_id'
        if shapes and all(_SUFFIXED.fullmatch(shape['label']) for shape in shapes):
            return 'label-suffix'
        return 'iou'

    def _parts(
        self, shapes: list[dict[str, Any]], drawing: Drawing, place: dict[str, Any]
    ) -> list[tuple[Any, str, RLE]]:
        """Draws the objects of a frame: id, category and mask."""
        masks: dict[tuple[Any, str], list[RLE]] = defaultdict(list)
        for number, shape in enumerate(shapes):
            key, category = self._identity(shape, number, place)
            where = {**place, 'list': 'shapes', 'entry': number}
            if (rle := self._mask(shape, drawing, where)) is not None:
                masks[key, category].append(rle)
        keys = Counter(key for key, _ in masks)
        for key in (key for key, count in keys.items() if count > 1):
            text = f'id {key} has several labels on this frame'
            self.report.error('id of two categories', text, **place)
        return [
            (key, category, _merged(rles))
            for (key, category), rles in masks.items()
            if keys[key] == 1
        ]

    def _identity(
        self, shape: dict[str, Any], number: int, place: dict[str, Any]
    ) -> tuple[Any, str]:
        """Gives the id and the category of a shape."""
        label, group = shape['label'], shape.get('group_id')
        if self._way == 'iou':
            return (f'group {group}', label) if group is not None else (f'shape {number}', label)
        if self._way == 'group_id':
            if group is not None:
                return group, label
            text = f'the shape {label!r} has no group_id, which --id-from asks for'
        elif match := _SUFFIXED.fullmatch(label):
            return label, match[1] or label
        else:
            text = f'the label {label!r} has no number at its end, which --id-from asks for'
        self.report.error('id', text, **place, list='shapes', entry=number)
        return f'shape {number}', label

    def _mask(self, shape: dict[str, Any], drawing: Drawing, place: dict[str, Any]) -> RLE | None:
        kind, points = shape.get('shape_type') or 'polygon', shape.get('points')
        if kind not in _POINTS:
            self.report.warn('shape', f'a {kind} has no area: left out', **place)
            return None
        sound = isinstance(points, list) and all(
            isinstance(one, list) and len(one) == 2 and all(map(is_number, one)) for one in points
        )
        if not sound or (_POINTS[kind] or len(points)) != len(points):
            text = f"'points' of a {kind} must be [[x, y], ...], found {shown(points)}"
            self.report.error('shape', text, **place)
            return None
        if kind == 'mask':
            return self._stored_mask(shape, drawing, place)
        if kind == 'rectangle':
            polygon = box_polygon(*points[0], *points[1])
        elif kind == 'circle':
            radius = float(np.hypot(*np.subtract(points[1], points[0])))
            polygon = ellipse_polygon(*points[0], radius, radius)
        else:
            polygon = [value for point in points for value in point]
        return drawing.polygons([polygon], place)

    def _stored_mask(
        self, shape: dict[str, Any], drawing: Drawing, place: dict[str, Any]
    ) -> RLE | None:
        """Reads a mask that is stored as a PNG, of the part of the frame from the first point."""
        try:
            content = np.frombuffer(base64.b64decode(shape['mask'], validate=True), np.uint8)
            mask = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
        except (KeyError, TypeError, ValueError, binascii.Error, cv2.error):
            mask = None
        if mask is None:
            text = "'mask' must be a PNG in base64, which it is not"
            self.report.error('shape', text, **place)
            return None
        left, top = map(round, shape['points'][0])
        return drawing.array((mask > 0).astype(np.uint8), left, top, place)

    def _check_size(
        self, content: dict[str, Any], size: tuple[int, int], place: dict[str, Any]
    ) -> None:
        given = content.get('imageHeight', size[0]), content.get('imageWidth', size[1])
        if None not in given and given != size:
            text = f'the file says {given[1]}x{given[0]} pixels, the image has {size[1]}x{size[0]}'
            self.report.error('image of another size', text, **place)

    def _content(self, path: Path, name: str) -> dict[str, Any] | None:
        """Reads a file but for the image in it; None, and reported, if it is none of LabelMe."""
        try:
            content = read_json(path, 'LabelMe file')
        except UserError as error:
            self.report.error('structure', str(error), video_id=name, file_name=str(path))
            return None
        shapes = content.get('shapes') if isinstance(content, dict) else None
        place = dict(video_id=name, file_name=str(path))
        if not isinstance(shapes, list):
            text = "a LabelMe file must hold an object with a list 'shapes'"
            self.report.error('structure', text, **place)
            return None
        faulty = [number for number, one in enumerate(shapes) if not _is_shape(one)]
        for number in faulty:
            wanted = "an object with a 'label', and perhaps a 'group_id' and a 'shape_type'"
            text = f'a shape must be {wanted}, found {shown(shapes[number])}'
            self.report.error('structure', text, list='shapes', entry=number, **place)
        if faulty:
            return None
        return {key: one for key, one in content.items() if key != 'imageData'}

    def _frames_of(
        self, folder: Path, is_single: bool, contents: dict[Path, dict[str, Any]]
    ) -> Path | None:
        if (images := self.options.images) is not None:
            return images if is_single else frames_named(images, folder.name)
        if images_in(folder):
            return folder
        for path, content in contents.items():
            name = str(content.get('imagePath', '')).replace('\\', '/')
            if name and (path.parent / name).is_file():
                return (path.parent / name).parent
        return None


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get('label'), str)
        and bool(value['label'])
        and isinstance(value.get('shape_type'), (str, type(None)))
        and isinstance(value.get('group_id'), (int, str, type(None)))
    )


def _json_files(folder: Path) -> list[Path]:
    return [one for one in entries(folder) if one.suffix.lower() == '.json']


def _merged(rles: list[RLE]) -> RLE:
    if len(rles) == 1:
        return rles[0]
    rle = mask_utils.merge(rles)
    return {'size': rle['size'], 'counts': rle['counts'].decode('ascii')}
