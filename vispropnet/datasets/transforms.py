"""Pipeline steps that know of videos; all others are mmdet's."""

from __future__ import annotations

import os
import stat

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs

from vispropnet.datasets.bad_frames import BadFrameError, frame_name
from vispropnet.datasets.images import ImageError, ImageSizeError, decode_image
from vispropnet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadVideoFrame(BaseTransform):
    """Loads a frame, and says which one when it cannot.

    Raises:
        BadFrameError: if the file is missing, is no regular file, is no image, is cut short, or is
            not of the size that the annotation file gives for its video.
    """

    def transform(self, results: dict) -> dict:
        """Adds ``img`` ((H, W, 3) uint8, BGR), ``img_shape`` and ``ori_shape`` to the results."""
        place = frame_name(results)
        width, height = results['width'], results['height']
        try:
            image = decode_image(_read(results['img_path'], place), width, height)
        except ImageSizeError as error:
            raise BadFrameError(
                f'{place}: {error}, the annotation file says {width}x{height}.'
            ) from None
        except ImageError as error:
            raise BadFrameError(f'{place}: {error}.') from None
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results


def _read(path: str, place: str) -> bytes:
    try:
        # A pipe would be waited for without end, a device be read until memory is full.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise BadFrameError(f'{place}: is no regular file; expected a picture.')
        with open(path, 'rb') as stream:
            return stream.read()
    except FileNotFoundError:
        raise BadFrameError(
            f'{place}: the file is listed in the annotation file but does not exist.'
        ) from None
    except OSError as error:
        raise BadFrameError(f'{place}: cannot be read: {error.strerror or error}.') from None


@TRANSFORMS.register_module()
class LoadTrackedAnnotations(LoadAnnotations):
    """Loads boxes, labels, masks and the identities of a frame's objects.

    Raises:
        BadFrameError: if the results say under ``fault`` that annotations of the frame are damaged.
    """

    def __init__(self) -> None:
        super().__init__(with_bbox=True, with_mask=True)

    def transform(self, results: dict) -> dict:
        """Adds mmdet's annotation fields and ``gt_instances_ids`` ((N,) int64)."""
        if results.get('fault'):
            raise BadFrameError(f'{frame_name(results)}: {results["fault"]}')
        results = super().transform(results)
        results['gt_instances_ids'] = np.array(
            [one['instance_id'] for one in results['instances']], dtype=np.int64
        )
        return results


@TRANSFORMS.register_module()
class PackFrameInputs(PackDetInputs):
    """Packs one frame: the image as a tensor, the rest as mmdet's ``DetDataSample``."""

    mapping_table = {**PackDetInputs.mapping_table, 'gt_instances_ids': 'instances_ids'}

    def __init__(self) -> None:
        of_image = ('img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
        of_video = ('video_id', 'frame_id', 'video_length', 'category_ids')
        super().__init__(meta_keys=of_image + of_video)
