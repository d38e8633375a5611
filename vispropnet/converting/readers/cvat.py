"""XML of CVAT in the form "CVAT for video 1.1"."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from vispropnet.converting.cvat_tracks import Shape, all_shapes
from vispropnet.converting.interface import RLE, Annotations, Frames, SourceVideo
from vispropnet.converting.interface import Reader as Base
from vispropnet.converting.linking import TrackBook
from vispropnet.converting.matching import (
    FRAME_FOLDERS,
    VIDEO_SUFFIXES,
    entries,
    first_folder,
    frames_named,
    images_in,
    source_video,
)
from vispropnet.converting.shapes import Drawing, box_polygon, ellipse_polygon
from vispropnet.errors import UserError

_KINDS = ('box', 'ellipse', 'polygon', 'mask')


class Reader(Base):
    """Reads an XML file, or all of a folder; each is a video.

    The frames of ``NAME.xml`` are the folder ``NAME``, ``images`` or ``frames`` beside it, or the
    video file ``NAME.mp4`` or the only one there. Frame numbers count from 0 over them.
    """

    takes = frozenset(('images',))

    def videos(self) -> Iterable[SourceVideo]:
        """Lists the videos, by their XML files."""
        files = [self.source]
        if self.source.is_dir():
            files = [one for one in entries(self.source) if one.suffix.lower() == '.xml']
        if not files:
            raise UserError(f'{self.source} holds no XML files.')
        found = []
        for path in files:
            root = _root(path)
            name, frames = path.stem, self._frames_of(path, len(files) == 1)
            if frames is None:
                text = 'there are no frames beside it: --images says where they are'
                self.report.error('no frames', text, video_id=name, file_name=str(path))
            elif (video := source_video(name, frames, self.report, more=(path, root))) is not None:
                found.append(video)
        return found

    def annotations(self, video: SourceVideo, frames: Frames) -> Annotations:
        """Draws the shapes of all tracks, and those between their keyframes."""
        path, root = video.more
        self._check_size(root, video, frames)
        drawing, book = Drawing(frames.size, self.report), TrackBook(video, self.report)
        wanted = set(frames.positions)
        for number, track in enumerate(root.iter('track')):
            key, label = track.get('id', str(number)), track.get('label', '')
            where = f'{path}, track {key}'
            if not label:
                self.report.error('label', 'the track has no label', **video.place(path=where))
                continue
            for shape in all_shapes(self._keyframes(track, video, frames, where), frames.total):
                if shape.frame in wanted:
                    rle = _draw(shape, drawing, video.place(shape.frame, where))
                    book.add(key, label, shape.frame, rle, path=where)
        return Annotations(book.tracks())

    def _keyframes(
        self, track: ElementTree.Element, video: SourceVideo, frames: Frames, where: str
    ) -> list[Shape]:
        """Reads the shapes of a track; faulty ones are reported, and make it empty."""
        shapes, before = [], self.report.count('error')
        for element in track:
            place = video.place(path=where)
            if element.tag not in _KINDS:
                text = f'a <{element.tag}> has no area: left out'
                self.report.warn('shape', text, **{**place, 'frame': element.get('frame', '?')})
                continue
            try:
                shape = _shape(element)
            except (KeyError, ValueError) as error:
                text = f'<{element.tag}> is damaged: {error}'
                self.report.error('shape', text, **{**place, 'frame': element.get('frame', '?')})
                continue
            place['frame'] = shape.frame
            if not 0 <= shape.frame < frames.total and not shape.outside:
                text = f'there is no frame {shape.frame}: the video has {frames.total}, from 0'
                self.report.error('no frame', text, **place)
            shapes.append(shape)
        ordered = sorted(shapes, key=lambda one: one.frame)
        if ordered != shapes:
            text = 'the frames of the track are out of order: sorted'
            self.report.warn('order of frames', text, **video.place(path=where))
        for first, second in itertools.pairwise(ordered):
            place = video.place(second.frame, where)
            if first.frame == second.frame:
                self.report.error('two shapes', 'the track is twice on this frame', **place)
            elif not first.outside and first.kind != second.kind and second.frame > first.frame + 1:
                text = f'a {second.kind} follows a {first.kind}: nothing can lie between them'
                self.report.error('shape', text, **place)
        return ordered if self.report.count('error') == before else []

    def _check_size(self, root: ElementTree.Element, video: SourceVideo, frames: Frames) -> None:
        size = root.find('.//original_size')
        if size is None:
            return
        given = [size.findtext(key, '').strip() for key in ('height', 'width')]
        if all(one.isdigit() for one in given):
            height, width = map(int, given)
            if (height, width) != frames.size:
                text = (
                    f'the file says {width}x{height} pixels, the frames have '
                    f'{frames.size[1]}x{frames.size[0]}'
                )
                place = video.place(path=video.more[0])
                self.report.error('frames of another size', text, **place)

    def _frames_of(self, path: Path, is_single: bool) -> Path | None:
        folder = path.parent
        if (images := self.options.images) is not None:
            is_frames = images.is_file() or bool(images.is_dir() and images_in(images))
            return images if is_single and is_frames else frames_named(images, path.stem)
        if (found := frames_named(folder, path.stem)) is not None:
            return found
        inner = first_folder(folder, FRAME_FOLDERS)
        if inner is not None and (found := frames_named(inner, path.stem)) is not None:
            return found
        if not is_single:
            return None
        if inner is not None and images_in(inner):
            return inner
        videos = [one for one in entries(folder) if one.suffix.lower() in VIDEO_SUFFIXES]
        return videos[0] if len(videos) == 1 else None


def _root(path: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise UserError(f'{path} cannot be read as XML: {reason}.') from None
    if root.tag != 'annotations':
        raise UserError(f'{path} is no XML of CVAT: expected <annotations>, found <{root.tag}>.')
    if root.find('image') is not None:
        raise UserError(
            f'{path} is in the form "CVAT for images", which has no tracks: export the task as '
            '"CVAT for video 1.1".'
        )
    if len(root.findall('./meta/project/tasks/task')) > 1:
        raise UserError(f'{path} holds a project of several tasks: export each task by itself.')
    return root


def _shape(element: ElementTree.Element) -> Shape:
    """Reads a shape; KeyError and ValueError say what is wrong."""
    frame, outside = int(_required(element, 'frame')), element.get('outside', '0') == '1'
    degrees, mask = float(element.get('rotation', '0')), None
    if element.tag == 'polygon':
        text = _required(element, 'points')
        points = [list(map(float, one.split(','))) for one in text.split(';') if one.strip()]
        if len(points) < 3 or any(len(one) != 2 for one in points):
            raise ValueError(f'a polygon must have 3 points or more, found {text[:60]!r}')
    elif element.tag == 'ellipse':
        cx, cy, rx, ry = (float(_required(element, key)) for key in ('cx', 'cy', 'rx', 'ry'))
        points = [[cx, cy], [rx, ry]]
    elif element.tag == 'box':
        left, top, right, bottom = (
            float(_required(element, key)) for key in ('xtl', 'ytl', 'xbr', 'ybr')
        )
        points = [[left, top], [right, bottom]]
    else:
        left, top, width, height = (
            int(float(_required(element, key))) for key in ('left', 'top', 'width', 'height')
        )
        mask = _mask_of(_required(element, 'rle'), width, height)
        points = [[left, top], [left + width, top + height]]
    array = np.array(points, float)
    if not np.isfinite(array).all():
        raise ValueError('a coordinate is no number')
    return Shape(element.tag, frame, outside, array, degrees, mask)


def _required(element: ElementTree.Element, key: str) -> str:
    if element.get(key) is None:
        raise KeyError(f'attribute {key!r} is missing')
    return element.get(key)


def _mask_of(text: str, width: int, height: int) -> np.ndarray:
    """Decodes runs of background and object in turn, row by row: (height, width) uint8."""
    runs = [int(one) for one in text.split(',') if one.strip()]
    if min(runs, default=0) < 0 or sum(runs) != width * height or width * height <= 0:
        raise ValueError(f'the runs cover {sum(runs)} pixels, expected {width}x{height}')
    values = np.arange(len(runs), dtype=np.uint8) % 2
    return np.repeat(values, runs).reshape(height, width)


def _draw(shape: Shape, drawing: Drawing, place: dict[str, Any]) -> RLE | None:
    first, second = shape.points[0], shape.points[-1]
    if shape.kind == 'mask':
        return drawing.array(shape.mask, int(first[0]), int(first[1]), place)
    if shape.kind == 'box':
        polygon = box_polygon(*first, *second, shape.degrees)
    elif shape.kind == 'ellipse':
        polygon = ellipse_polygon(*first, *second, shape.degrees)
    else:
        polygon = shape.points.ravel().tolist()
    return drawing.polygons([polygon], place)
