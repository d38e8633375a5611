"""Normalisation and padding of frames and of key/reference pairs."""

from __future__ import annotations

from mmdet.models.data_preprocessors import DetDataPreprocessor

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
            training: Whether ground-truth masks are padded as well.

        Returns:
            ``inputs``: (B, 3, H, W), or for pairs (2B, 3, H, W), the key frames first;
            ``data_samples``: as given, with ``pad_shape`` and ``batch_input_shape`` added.
        """
        if not isinstance(data['inputs'], dict):
            return super().forward(data, training)
        inputs, samples = data['inputs'], data['data_samples']
        batch_size = len(inputs['key'])
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
