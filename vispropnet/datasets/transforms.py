"""Pipeline steps that know of videos; all others are mmdet's."""

from __future__ import annotations

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs
from mmengine import fileio

from vispropnet.datasets.jpeg import is_cut_jpeg
from vispropnet.errors import UserError
from vispropnet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadVideoFrame(BaseTransform):
    """Loads a frame, and says which one when it cannot.

    Args:
        imdecode_backend: Decoder, as in ``mmcv.imfrombytes``.

    Raises:
        UserError: if the file is missing, is no image, is cut short, or is not of the size that the
            annotation file gives for its video.
    """

    def __init__(self, imdecode_backend: str = 'cv2') -> None:
        self.imdecode_backend = imdecode_backend

    def transform(self, results: dict) -> dict:
        """Adds ``img`` ((H, W, 3) uint8, BGR), ``img_shape`` and ``ori_shape`` to the results."""
        place = (
            f'frame {results["frame_id"]} of video {results["video_id"]} ({results["img_path"]})'
        )
        image = self._read(results['img_path'], place)
        found, expected = image.shape[:2], (results['height'], results['width'])
        if found != expected:
            raise UserError(
                f'{place}: the image is {found[1]}x{found[0]} pixels, '
                f'the annotation file says {expected[1]}x{expected[0]}.'
            )
        results.update(img=image, img_shape=found, ori_shape=found)
        return results

    def _read(self, path: str, place: str) -> np.ndarray:
        try:
            content = fileio.get(path)
        except FileNotFoundError:
            raise UserError(
                f'{place}: the file is listed in the annotation file but does not exist.'
            ) from None
        except OSError as error:
            raise UserError(f'{place}: cannot be read: {error.strerror}.') from None
        if is_cut_jpeg(content):
            raise UserError(f'{place}: cannot be read as an image: the JPEG is cut short.')
        try:
            image = mmcv.imfrombytes(content, backend=self.imdecode_backend)
        except Exception as error:  # decoders fail in ways of their own
            raise UserError(f'{place}: cannot be read as an image: {error}.') from None
        if image is None:
            raise UserError(f'{place}: cannot be read as an image (damaged, or not one?).')
        return image


@TRANSFORMS.register_module()
class LoadTrackedAnnotations(LoadAnnotations):
    """Loads boxes, labels, masks and the identities of a frame's objects."""

    def __init__(self) -> None:
        super().__init__(with_bbox=True, with_mask=True)

    def transform(self, results: dict) -> dict:
        """Adds mmdet's annotation fields and ``gt_instances_ids`` ((N,) int64)."""
        results = super().transform(results)
        results['gt_instances_ids'] = np.array(
            [one['instance_id'] for one in results['instances']], dtype=np.int64
        )
        return results


@TRANSFORMS.register_module()
class PackFrameInputs(PackDetInputs):
    """Packs one frame: the image as a tensor, the rest as mmdet's ``DetDataSample``.

    Args:
        meta_keys: What is kept as meta information of the sample.
    """

    mapping_table = {**PackDetInputs.mapping_table, 'gt_instances_ids': 'instances_ids'}

    def __init__(
        self,
        meta_keys: tuple[str, ...] = (
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'flip',
            'flip_direction',
            'video_id',
            'frame_id',
            'video_length',
            'category_ids',
        ),
    ) -> None:
        super().__init__(meta_keys=meta_keys)
