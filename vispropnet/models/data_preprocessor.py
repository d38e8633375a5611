"""Normalisation and padding of frames and of clips."""

from __future__ import annotations

from typing import Any

from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor

from vispropnet.registry import MODELS


@MODELS.register_module()
class VISDataPreprocessor(DetDataPreprocessor):
    """mmdet's preprocessing for frames, and for clips so that all frames are padded alike.

    The arguments are those of mmdet's ``DetDataPreprocessor``; ``non_blocking``, copies to a GPU
    that the host does not wait for, is on unless switched off.
    """

    def __init__(self, non_blocking: bool = True, **options: Any) -> None:
        super().__init__(non_blocking=non_blocking, **options)
        # mmengine turns BGR into RGB by an index, which is copied to a GPU and waited for.
        self._turns_channels, self._channel_conversion = self._channel_conversion, False

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalises and pads a batch.

        Args:
            data: ``inputs`` and ``data_samples``, each a list of B frames, or for clips of T frames
                a list of T lists of B: the key frames, then the first references and so on.
            training: Whether ground-truth masks are padded as well, and objects whose box has no
                area are left out of clips.

        Returns:
            ``inputs``: (B, 3, H, W), or for clips (B * T, 3, H, W), clip by clip, the key frame
            first in each; ``data_samples``: B samples, or for clips B lists of T samples, with
            ``pad_shape`` and ``batch_input_shape`` added.
        """
        if not holds_clips(data['inputs']):
            return super().forward(self._turned(data), training)
        num_frames = len(data['inputs'])
        images, samples = (
            [one for clip in zip(*data[name], strict=True) for one in clip]
            for name in ('inputs', 'data_samples')
        )
        if training:
            # Here, where ground truth is still on the CPU, nobody has to wait for a GPU.
            samples = [_with_area(sample) for sample in samples]
        data = super().forward(self._turned(dict(inputs=images, data_samples=samples)), training)
        frames = iter(data['data_samples'])
        data['data_samples'] = [list(clip) for clip in zip(*[frames] * num_frames, strict=True)]
        return data

    def _turned(self, data: dict) -> dict:
        """Moves a batch to the device and turns BGR into RGB, or RGB into BGR, if so configured."""
        data = self.cast_data(data)
        if self._turns_channels:
            data = {**data, 'inputs': [image.flip(0) for image in data['inputs']]}
        return data


def holds_clips(batch: Any) -> bool:
    """Tells a batch of clips, a list of lists for the positions in them, from one of single frames.

    Args:
        batch: ``inputs`` or ``data_samples`` as a data loader gives them.
    """
    kinds = (list, tuple)
    return isinstance(batch, kinds) and len(batch) > 0 and isinstance(batch[0], kinds)


def _with_area(sample: DetDataSample) -> DetDataSample:
    """Leaves out objects whose box has no area: targets of box regression are their logarithms."""
    boxes = get_box_tensor(sample.gt_instances.bboxes)
    sound = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    if sound.all():
        return sample
    sample = sample.clone()
    sample.gt_instances = sample.gt_instances[sound]
    return sample
