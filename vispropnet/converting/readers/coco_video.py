"""COCO style files of videos: images have a video and a frame number, annotations a track."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from vispropnet.converting.interface import Annotations, Frames, SourceVideo
from vispropnet.converting.linking import TrackBook
from vispropnet.converting.matching import GAP, gap_text, gaps
from vispropnet.converting.readers.coco import CocoFile
from vispropnet.converting.shapes import Drawing
from vispropnet.datasets.annotation_values import is_id, read_crowd
from vispropnet.text import shown

_FRAME_KEYS = ('frame_id', 'frame_index', 'frame_number')
_TRACK_KEYS = ('instance_id', 'track_id')


class Reader(CocoFile):
    """Reads ``video_id`` and ``frame_id`` of images, and ``instance_id`` or ``track_id``."""

    def videos(self) -> Iterable[SourceVideo]:
        """Lists the videos, their images in the order of frame numbers."""
        self.read()
        names = self._names()
        groups: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
        for image in self.images.values():
            video, frame = image.get('video_id'), _first_of(image, _FRAME_KEYS)
            if not is_id(video) or not is_id(frame):
                text = f'an image must have video_id and frame_id, found {shown(image)}'
                self.report.error('structure', text, file_name=image['file_name'])
            elif frame in groups[video]:
                text = f'two images have frame number {frame}: this and '
                other = groups[video][frame]['file_name']
                place = dict(video_id=names.get(video, video), file_name=image['file_name'])
                self.report.error('two files for one frame', text + other, **place)
            else:
                groups[video][frame] = image
        found = []
        for video, by_frame in groups.items():
            images = [by_frame[frame] for frame in sorted(by_frame)]
            self._note_gaps(sorted(by_frame), names.get(video, video), images)
            name = str(names.get(video, f'{video:05d}'))
            if paths := self.paths(images, name):
                found.append(SourceVideo(name, paths, more=images))
        return found

    def annotations(self, video: SourceVideo, frames: Frames) -> Annotations:
        """Draws the objects of a video."""
        drawing, book = Drawing(frames.size, self.report), TrackBook(video, self.report)
        for position in frames.positions:
            place = video.place(position)
            for one, rle in self.masks(video.more[position], drawing, place):
                key = _first_of(one, _TRACK_KEYS)
                if not is_id(key):
                    text = (
                        f"an annotation must have 'instance_id' or 'track_id', found {shown(key)}"
                    )
                    where = {**place, 'annotation_id': one.get('id', 0)}
                    self.report.error('structure', text, **where)
                    continue
                category = self.names[one['category_id']]
                book.add(key, category, position, rle, bool(read_crowd(one)))
        return Annotations(book.tracks())

    def _names(self) -> dict[int, str]:
        """Gives the names of videos by id, as far as the file has them."""
        videos = self.content.get('videos')
        if videos is not None and not isinstance(videos, list):
            self.report.error('structure', f"'videos' must be a list, found {shown(videos)}")
            return {}
        names = {}
        for at, one in enumerate(videos or ()):
            if not isinstance(one, dict) or not is_id(one.get('id')):
                text = f'must be an object with an id, found {shown(one)}'
                self.report.error('structure', text, list='videos', entry=at)
            elif isinstance(one.get('name'), str) and one['name']:
                names[one['id']] = one['name'].replace('\\', '/')
        return names

    def _note_gaps(self, numbers: list[int], name: Any, images: list[dict[str, Any]]) -> None:
        for frame in gaps(numbers):
            place = dict(video_id=name, frame=frame, file_name=images[frame]['file_name'])
            self.report.warn(GAP, gap_text(numbers[frame - 1]), **place)


def _first_of(entry: dict[str, Any], keys: Iterable[str]) -> Any:
    return next((entry[key] for key in keys if entry.get(key) is not None), None)
