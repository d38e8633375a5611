"""Clips made of still images: one object, moved differently in each frame."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.mask import BitmapMasks
from pycocotools import mask as mask_utils

from vispropnet.datasets.bad_frames import BadFrameError, BadFrames
from vispropnet.datasets.images import ImageError, upright_size
from vispropnet.datasets.mask_videos import MaskVideos, instance_of
from vispropnet.datasets.randomness import global_seed
from vispropnet.datasets.video_objects import ATTEMPTS
from vispropnet.errors import UserError
from vispropnet.fileio import read_json
from vispropnet.registry import DATASETS, TRANSFORMS


@DATASETS.register_module()
class StillImages(MaskVideos):
    """Images with masks, each as a clip of one of its objects; the pipeline moves it at random.

    Args:
        data_root: Folder of ``X.jpg`` with ``X.png``, searched with its folders; with ``ann_file``
            the folder that file names start from.
        ann_file: COCO style annotation file; '' for a folder of images and masks.
        options: Further arguments of :class:`~vispropnet.datasets.video_objects.VideoObjects`.
    """

    def __init__(self, data_root: str, ann_file: str = '', **options: Any) -> None:
        super().__init__(ann_file, data_root=data_root, **options)

    def load_data_list(self) -> list[dict]:
        """Lists the images, each a video of one frame."""
        images = self._listed() if self.ann_file else self._found()
        if not images:
            raise UserError(f'{self.ann_file or self.data_root}: no image has a mask.')
        for image in images:
            image.update(frame_id=0, video_length=1, given=[], shows=True)
            self._names.append(str(image['video_id']))
        self.ann_file = self.ann_file or self.data_root
        return self._finish(images)

    def _index(self, frames: list[dict], video_lengths: list[int]) -> None:
        length, self.clip_length = self.clip_length, 1
        super()._index(frames, video_lengths)
        self.clip_length = length

    def _found(self) -> list[dict]:
        images = []
        for path in sorted(Path(self.data_root).rglob('*.jpg')):
            mask = path.with_suffix('.png')
            if not mask.is_file():
                continue
            try:
                width, height = upright_size(path)
            except ImageError as error:
                raise UserError(f'{path} {error}') from None
            size = dict(width=width, height=height)
            name = str(path.relative_to(self.data_root))
            image = dict(size, img_path=str(path), mask_path=str(mask), video_id=name, instances=[])
            images.append(image)
        return images

    def _listed(self) -> list[dict]:
        content = read_json(self.ann_file, 'annotation file', self.hint)
        objects = defaultdict(list)
        try:
            for one in content['annotations']:
                if not one.get('iscrowd') and one['segmentation']:
                    objects[one['image_id']].append((one['id'], one['segmentation']))
            return [
                dict(
                    img_path=os.path.join(self.data_root, image['file_name']),
                    width=image['width'],
                    height=image['height'],
                    video_id=image['id'],
                    instances=[_instance(one, image) for one in objects[image['id']]],
                )
                for image in content['images']
                if objects[image['id']]
            ]
        except (KeyError, TypeError) as error:
            raise UserError(
                f'annotation file {self.ann_file} is not in the COCO form: {error!r}.'
            ) from None

    def _clip(
        self, key_frame: int, generator: np.random.Generator, bad: BadFrames
    ) -> dict[str, list] | None:
        """Loads one object of an image several times; None if it cannot be read, or leaves."""
        try:
            info = self.get_data_info(key_frame)
            if not info['instances']:
                return None
            info['instances'] = [info['instances'][generator.integers(len(info['instances']))]]
            frames: list[dict] = []
            for _ in range(self.clip_length + ATTEMPTS):
                with global_seed(int(generator.integers(2**32))):
                    frame = self.pipeline({**info, 'instances': list(info['instances'])})
                if frames or len(frame['data_samples'].gt_instances):
                    frames.append(frame)
                if len(frames) == self.clip_length:
                    return {name: [one[name] for one in frames] for name in frames[0]}
        except BadFrameError as error:
            bad.add(key_frame, error)
        return None


def _instance(annotation: tuple[int, Any], image: dict) -> dict[str, Any]:
    number, mask = annotation
    if isinstance(mask, list):
        mask = mask_utils.merge(mask_utils.frPyObjects(mask, image['height'], image['width']))
    elif isinstance(mask['counts'], list):
        mask = mask_utils.frPyObjects(mask, image['height'], image['width'])
    if isinstance(mask['counts'], str):
        mask = dict(mask, counts=mask['counts'].encode('ascii'))
    return instance_of(number, mask)


@TRANSFORMS.register_module()
class RandomObjectAffine(BaseTransform):
    """Turns, scales, shears and shifts an image with its masks, about its centre.

    Args:
        degrees: Turned by at most so much.
        scale: Range of the factor.
        shear: Sheared by at most so many degrees.
        shift: Shifted by at most this part of the sides.
    """

    def __init__(
        self,
        degrees: float = 20.0,
        scale: tuple[float, float] = (0.9, 1.1),
        shear: float = 10.0,
        shift: float = 0.1,
    ) -> None:
        self.degrees, self.scale, self.shear, self.shift = degrees, scale, shear, shift

    def transform(self, results: dict) -> dict:
        """Changes ``img`` and ``gt_masks``, and what follows from them; empty masks go."""
        height, width = results['img'].shape[:2]
        matrix = self._draw(width, height)
        fill = results['img'].mean(axis=(0, 1))
        results['img'] = cv2.warpAffine(
            results['img'], matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=fill
        )
        masks = [
            cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_NEAREST)
            for mask in results['gt_masks'].masks
        ]
        masks = np.array(masks, np.uint8).reshape(-1, height, width)
        shown = masks.any(axis=(1, 2))
        results['gt_masks'] = BitmapMasks(masks[shown], height, width)
        results['gt_bboxes'] = results['gt_masks'].get_bboxes(type(results['gt_bboxes']))
        for name in ('gt_bboxes_labels', 'gt_ignore_flags', 'gt_instances_ids'):
            results[name] = results[name][shown]
        return results

    @staticmethod
    def _within(limit: float) -> float:
        return np.random.uniform(-limit, limit)  # noqa: NPY002 (seeded for each sample)

    def _draw(self, width: int, height: int) -> np.ndarray:
        angle, shear = (math.radians(self._within(one)) for one in (self.degrees, self.shear))
        low, high = self.scale
        factor = (low + high) / 2 + self._within((high - low) / 2)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        linear = factor * turn @ np.array([[1, math.tan(shear)], [0, 1]])
        centre = np.array([width / 2, height / 2])
        moved = centre + [self._within(self.shift) * side for side in (width, height)]
        return np.column_stack([linear, moved - linear @ centre])
