"""Batches as plain data, which files can hold without their reader having to run code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

# Marks a dict that stands for something else, and names what.
KIND = '__kind__'
ELEMENTS = {one.__name__: one for one in (DetDataSample, InstanceData)}


def to_plain(value: Any) -> Any:
    """Turns a batch into tensors, dicts, lists, tuples, numbers and texts.

    Args:
        value: Of these, data samples, instances, masks, boxes and arrays, nested in any way.

    Returns:
        What ``torch.load(weights_only=True)`` reads; tensors are copies on the CPU.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, Tensor):
        # A view would be saved with all that it is a view of.
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray):
        return {KIND: 'array', 'data': torch.from_numpy(value.copy())}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, BitmapMasks):
        data = torch.from_numpy(value.masks.copy())
        return {KIND: 'masks', 'data': data, 'height': value.height, 'width': value.width}
    if isinstance(value, HorizontalBoxes):
        return {KIND: 'boxes', 'data': to_plain(value.tensor)}
    if isinstance(value, BaseDataElement) and type(value).__name__ in ELEMENTS:
        return {
            KIND: type(value).__name__,
            'metainfo': to_plain(dict(value.metainfo_items())),
            'data': to_plain(dict(value.items())),
        }
    if isinstance(value, Mapping):
        return {key: to_plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return (tuple if isinstance(value, tuple) else list)(to_plain(one) for one in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f'cannot keep a {type(value).__name__} as plain data')


def from_plain(value: Any) -> Any:
    """Undoes :func:`to_plain`.

    Args:
        value: What it gave.

    Returns:
        The batch.

    Raises:
        ValueError: for a mark that is unknown.
    """
    if isinstance(value, (list, tuple)):
        return type(value)(from_plain(one) for one in value)
    if not isinstance(value, dict):
        return value
    kind = value.get(KIND)
    if kind is None:
        return {key: from_plain(one) for key, one in value.items()}
    if kind == 'array':
        return value['data'].numpy()
    if kind == 'masks':
        return BitmapMasks(value['data'].numpy(), value['height'], value['width'])
    if kind == 'boxes':
        return HorizontalBoxes(value['data'])
    if kind not in ELEMENTS:
        raise ValueError(f'plain data of an unknown kind {kind!r}')
    element = ELEMENTS[kind](metainfo=from_plain(value['metainfo']))
    for name, one in value['data'].items():
        setattr(element, name, from_plain(one))
    return element
