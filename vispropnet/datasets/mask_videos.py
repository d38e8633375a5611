"""DAVIS 2017 and YouTube-VOS: videos whose ground truth are index masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from vispropnet.datasets.images import ImageError, upright_size
from vispropnet.datasets.index_masks import ids_in, read_index_mask, read_split
from vispropnet.datasets.video_objects import VideoObjects
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError
from vispropnet.fileio import read_json
from vispropnet.registry import DATASETS


def instance_of(number: int, rle: dict[str, Any]) -> dict[str, Any]:
    """Makes an instance, as the transforms take it, of an object's id and compressed RLE."""
    left, top, width, height = mask_utils.toBbox(rle).tolist()
    # The transforms leave out masks whose counts are bytes.
    rle = dict(size=rle['size'], counts=rle['counts'].decode('ascii'))
    box = [left, top, left + width, top + height]
    return dict(bbox=box, mask=rle, bbox_label=0, ignore_flag=0, instance_id=number)


class MaskVideos(VideoObjects):
    """Base of data sets whose ground truth are index PNGs."""

    def _frames(self, name: str, images: Path, masks: Path) -> list[dict[str, Any]]:
        """Frames of a video, without what is given in them."""
        files = sorted([*images.glob('*.jpg'), *images.glob('*.png')])
        if not files:
            tail = f' {self.hint}' if self.hint else ''
            raise UserError(f'sequence {name}: no frames (*.jpg) in {images}.{tail}')
        try:
            width, height = upright_size(files[0])
        except ImageError as error:
            raise UserError(f'sequence {name}: {files[0]} {error}') from None
        self._names.append(name)
        shared = dict(height=height, width=width, video_id=name, video_length=len(files))
        return [
            dict(
                shared,
                img_path=str(file),
                frame_id=number,
                instances=[],
                mask_path=str(masks / f'{file.stem}.png'),
                shows=(masks / f'{file.stem}.png').is_file(),
                given=None,
            )
            for number, file in enumerate(files)
        ]

    def _finish(self, frames: list[dict]) -> list[dict]:
        # The one category of all objects.
        self._own_classes, self._own_ids = ('object',), {'object': 1}
        self._set_classes(self._own_classes, (0,))
        self._index(frames, [one['video_length'] for one in frames if one['frame_id'] == 0])
        return frames

    def get_data_info(self, idx: int) -> dict:
        """Gives a frame's dict; in training with its instances."""
        info = super().get_data_info(idx)
        if self.test_mode or not info['shows'] or 'mask_path' not in info:
            return info
        ids = read_index_mask(info['mask_path'], (info['height'], info['width']))
        for number in ids_in(ids):
            rle = mask_utils.encode(np.asfortranarray(ids == number, dtype=np.uint8))
            info['instances'].append(instance_of(number, rle))
        return info

    def object_labels(self, frames: range) -> dict[int, int]:
        """Gives no labels: objects have no category here."""
        return {}

    def missing_truth(self, frames: range) -> int | None:
        """Gives the position of the first frame without a PNG; see the base class."""
        infos = (super(YouTubeVIS, self).get_data_info(frame) for frame in frames)
        return next((at for at, info in enumerate(infos) if not info['shows']), None)

    def index_mask(self, frame: int) -> np.ndarray | None:
        """Reads the ground truth of a frame; see the base class."""
        info = super(YouTubeVIS, self).get_data_info(frame)
        if not info['shows']:
            return None
        return read_index_mask(info['mask_path'], (info['height'], info['width']))

    def given_objects(self, frame: int) -> dict[int, np.ndarray]:
        """Gives the masks of the objects that a frame is the first to show; see the base class."""
        info = super(YouTubeVIS, self).get_data_info(frame)
        if info['given'] == [] or (info['given'] is None and info['frame_id'] > 0):
            return {}
        ids = self.index_mask(frame)
        if ids is None:
            raise UserError(f'sequence {info["video_id"]}: mask not found: {info["mask_path"]}')
        numbers = ids_in(ids) if info['given'] is None else info['given']
        found = {number: ids == number for number in numbers if (ids == number).any()}
        if not found:
            raise UserError(
                f'sequence {info["video_id"]}: {info["mask_path"]} should give objects and shows '
                'none.'
            )
        return found


@DATASETS.register_module()
class DAVIS(MaskVideos):
    """DAVIS 2017 as it ships; the first frame of a sequence gives its objects.

    Args:
        data_root: Folder with ``JPEGImages``, ``Annotations`` and ``ImageSets``.
        split: ``'train'``, ``'val'`` or ``'test-dev'``.
        resolution: Name of the folders of frames and masks.
        options: Further arguments of :class:`VideoObjects`.
    """

    late_objects = False
    # As the published code has it; DAVIS itself skips none.
    skipped_ids = True

    def __init__(
        self, data_root: str, split: str = 'train', resolution: str = '480p', **options: Any
    ) -> None:
        self.split, self.resolution = split, resolution
        super().__init__('', data_root=data_root, **options)

    def load_data_list(self) -> list[dict]:
        """Lists the frames of all sequences."""
        root, self.ann_file = Path(self.data_root), f'DAVIS {self.data_root}, {self.split}'
        frames = []
        for name in read_split(root, self.split):
            folders = (
                root / kind / self.resolution / name for kind in ('JPEGImages', 'Annotations')
            )
            frames += self._frames(name, *folders)
        return self._finish(frames)


@DATASETS.register_module()
class YouTubeVOS(MaskVideos):
    """YouTube-VOS 2018 or 2019 as it ships; ``meta.json`` says in which frame an object comes.

    Args:
        data_root: Folder of a split, with ``JPEGImages``, ``Annotations`` and ``meta.json``.
        options: Further arguments of :class:`VideoObjects`.
    """

    def __init__(self, data_root: str, **options: Any) -> None:
        super().__init__('meta.json', data_root=data_root, **options)

    def load_data_list(self) -> list[dict]:
        """Lists the frames of all videos."""
        root = Path(self.data_root)
        content = read_json(self.ann_file, 'meta file', self.hint)
        try:
            firsts = {
                video: {
                    int(number): str(one['frames'][0]) for number, one in entry['objects'].items()
                }
                for video, entry in content['videos'].items()
            }
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise UserError(
                f'meta file {self.ann_file} must hold {{"videos": {{VIDEO: {{"objects": {{"1": '
                '{"frames": [...]}}}}}}, as that of YouTube-VOS.'
            ) from None
        frames = []
        for video, objects in firsts.items():
            here = self._frames(video, root / 'JPEGImages' / video, root / 'Annotations' / video)
            for frame in here:
                stem = Path(frame['img_path']).stem
                frame['given'] = sorted(one for one, first in objects.items() if first == stem)
            frames += here
        return self._finish(frames)
