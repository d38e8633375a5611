"""COCO style files of still images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vispropnet.converting.interface import Annotations, Frames, SourceVideo, Track
from vispropnet.converting.interface import Reader as Base
from vispropnet.converting.linking import link_by_iou
from vispropnet.converting.matching import FRAME_FOLDERS, first_folder
from vispropnet.converting.shapes import Drawing
from vispropnet.datasets.annotation_values import (
    category_fault,
    is_id,
    name_fault,
    read_crowd,
)
from vispropnet.datasets.frame_paths import find_elsewhere, frame_path
from vispropnet.errors import UserError
from vispropnet.fileio import read_json
from vispropnet.text import shown
from vispropnet.video.folder import natural_key


class CocoFile(Base):
    """What COCO style files have in common: images, categories, and annotations of images."""

    takes = frozenset(('images',))

    def read(self) -> None:
        """Reads the file; faulty entries are reported and left out."""
        path = self._path()
        content = read_json(path, 'annotation file')
        wanted = ('images', 'annotations', 'categories')
        if not isinstance(content, dict) or not all(
            isinstance(content.get(key), list) for key in wanted
        ):
            raise UserError(
                f'annotation file {path} is not in the COCO form: it must hold an object with '
                'the lists images, annotations and categories.'
            )
        self.content, self._has_advice = content, False
        self._folder = self.options.images or first_folder(path.parent, FRAME_FOLDERS)
        self._folder = self._folder or path.parent
        names = self._by_id('categories', 'name', lambda name: category_fault(name) is None)
        self.names = {number: one['name'] for number, one in names.items()}
        self.categories = {name: number for number, name in self.names.items()}
        if len(self.categories) < len(self.names):
            self.report.error('category', 'two categories have one name', list='categories')
        self.images = self._by_id('images', 'file_name', lambda name: name_fault(name) is None)
        self.objects: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for at, one in enumerate(self.content['annotations']):
            if self._is_annotation(one, at):
                self.objects[one['image_id']].append(one)

    def paths(self, images: Iterable[dict[str, Any]], video: str) -> list[Path]:
        """Finds the files of images; missing ones are reported."""
        found, missing = [], False
        for frame, image in enumerate(images):
            name = image['file_name']
            found.append(Path(frame_path(self._folder, name)))
            if found[-1].is_file():
                continue
            text, missing = f'there is no file {found[-1]}', True
            if not self._has_advice and (advice := find_elsewhere(self._folder, name)):
                text, self._has_advice = f'{text}: {advice}', True
            self.report.error('missing frame', text, video_id=video, frame=frame, file_name=name)
        return [] if missing else found

    def masks(
        self, image: dict[str, Any], drawing: Drawing, place: dict[str, Any]
    ) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Draws the masks of an image: each annotation, with its RLE if it has pixels."""
        size = image.get('height', drawing.height), image.get('width', drawing.width)
        if size != (drawing.height, drawing.width):
            text = (
                f'the file says {shown(size[1])}x{shown(size[0])} pixels, the image has '
                f'{drawing.width}x{drawing.height}'
            )
            self.report.error('image of another size', text, **place)
            return []
        found = []
        for one in self.objects[image['id']]:
            where = {**place, 'annotation_id': one.get('id', 0)}
            rle = drawing.segmentation(one.get('segmentation'), where)
            if rle is not None:
                found.append((one, rle))
        return found

    def _path(self) -> Path:
        if self.source.is_file():
            return self.source
        files = sorted(self.source.glob('*.json'))
        if len(files) != 1:
            raise UserError(
                f'{self.source} holds {len(files)} JSON files: give the annotation file itself.'
            )
        return files[0]

    def _by_id(self, key: str, name: str, is_sound: Any) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        for at, one in enumerate(self.content[key]):
            place = dict(list=key, entry=at)
            if not isinstance(one, dict) or not is_id(one.get('id')) or not is_sound(one.get(name)):
                text = f'must be an object with an id and a {name}, found {shown(one)}'
                self.report.error('structure', text, **place)
            elif one['id'] in found:
                self.report.error('duplicate id', f'the id {one["id"]} is there twice', **place)
            else:
                found[one['id']] = one
        return found

    def _is_annotation(self, one: Any, at: int) -> bool:
        place = dict(list='annotations', entry=at)
        if not isinstance(one, dict):
            self.report.error('structure', f'must be an object, found {shown(one)}', **place)
            return False
        known = {'image_id': self.images, 'category_id': self.names}
        faults = [
            f'{key} {shown(one.get(key))} is not among the {what} of the file'
            for (key, some), what in zip(known.items(), ('images', 'categories'), strict=True)
            if not is_id(one.get(key)) or one[key] not in some
        ]
        if read_crowd(one) is None:
            faults.append(f"'iscrowd' must be 0 or 1, found {shown(one['iscrowd'])}")
        for fault in faults:
            self.report.error('reference', fault, **place)
        return not faults


class Reader(CocoFile):
    """Reads a COCO style file of still images; each is a video of one frame.

    With ``--id-from iou`` the images of a folder are the frames of a video, in natural order, and
    objects are linked by the IoU of their masks.
    """

    takes = frozenset(('images', 'id_from'))

    def videos(self) -> Iterable[SourceVideo]:
        """Lists the images, or the folders of images."""
        if self.options.id_from not in (None, 'iou'):
            raise UserError(f'--id-from {self.options.id_from} is not for coco: it takes iou.')
        self.read()
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for image in self.images.values():
            name = image['file_name'].replace('\\', '/')
            folder = name.rpartition('/')[0]
            groups[name if self.options.id_from is None else folder or 'video'].append(image)
        found = []
        for name, images in groups.items():
            images = sorted(images, key=lambda one: natural_key(one['file_name']))
            if paths := self.paths(images, name):
                folder = name.rpartition('/')[0] if self.options.id_from is None else name
                found.append(SourceVideo(name, paths, more=images, folder=folder))
        return found

    def annotations(self, video: SourceVideo, frames: Frames) -> Annotations:
        """Draws the objects of an image or of a folder of images."""
        drawing = Drawing(frames.size, self.report)
        found = {
            position: self.masks(video.more[position], drawing, video.place(position))
            for position in frames.positions
        }
        plain = {
            position: [
                (self.names[one['category_id']], rle) for one, rle in some if not read_crowd(one)
            ]
            for position, some in found.items()
        }
        tracks = link_by_iou(plain)
        for position, some in found.items():
            for one, rle in some:
                if read_crowd(one):
                    name = self.names[one['category_id']]
                    tracks.append(Track(f'crowd {one.get("id")}', name, {position: rle}, True))
        return Annotations(tracks)

    def notes(self) -> list[str]:
        """Says what became of the images."""
        if self.options.id_from is None:
            return ['each image is a video of one frame; --id-from iou makes videos of folders.']
        return ['objects were linked over the images of each folder by mask IoU (0.3 or more).']
