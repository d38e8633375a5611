"""Normalisation and padding of frames and of key/reference pairs."""

from __future__ import annotations

from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor

from vispropnet.registry import MODELS


@MODELS.register_module()
class VISDataPreprocessor(DetDataPreprocessor):
    """mmdet's preprocessing for frames, and for pairs so that both go through the network at once.

    The arguments are those of mmdet's ``DetDataPreprocessor``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalises and pads a batch.

        Args:
            data: ``inputs`` and ``data_samples``, each a list (frames) or a dict of the lists
                ``key`` and ``ref`` (pairs).
            training: Whether ground-truth masks are padded as well, and objects whose box has no
                area are left out of pairs.

        Returns:
            ``inputs``: (B, 3, H, W), or for pairs (2B, 3, H, W), the key frames first;
            ``data_samples``: as given, with ``pad_shape`` and ``batch_input_shape`` added.
        """
        if not isinstance(data['inputs'], dict):
            return super().forward(data, training)
        inputs, samples = data['inputs'], data['data_samples']
        batch_size = len(inputs['key'])
        if training:
            # Here, where ground truth is still on the CPU, nobody has to wait for a GPU.
            samples = {name: [_with_area(one) for one in some] for name, some in samples.items()}
        data = super().forward(
            dict(
                inputs=[*inputs['key'], *inputs['ref']],
                data_samples=[*samples['key'], *samples['ref']],
            ),
            training,
        )
        samples = data['data_samples']
        data['data_samples'] = dict(key=samples[:batch_size], ref=samples[batch_size:])
        return data


def _with_area(sample: DetDataSample) -> DetDataSample:
    """Leaves out objects whose box has no area: targets of box regression are their logarithms."""
    boxes = get_box_tensor(sample.gt_instances.bboxes)
    sound = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    if sound.all():
        return sample
    sample = sample.clone()
    sample.gt_instances = sample.gt_instances[sound]
    return sample
