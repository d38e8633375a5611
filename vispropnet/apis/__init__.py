"""Functions and classes for tools and scripts, each imported when it is first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    'init_model': 'models',
    'FrameInstances': 'segmenter',
    'VideoObjectSegmenter': 'object_segmenter',
    'SegmentedFrame': 'segmentation',
    'VideoSegmenter': 'segmenter',
    'segment_video': 'segmentation',
    'test': 'testing',
    'test_vos': 'vos_testing',
    'train': 'training',
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
