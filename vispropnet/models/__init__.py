"""Models: detectors, necks, heads, trackers. Importing this package registers them."""

from vispropnet.models import (
    data_preprocessor,
    detectors,
    fewer_waits,
    necks,
    prop_heads,
    roi_extractors,
    track_heads,
    trackers,
)

__all__ = [
    'data_preprocessor',
    'detectors',
    'fewer_waits',
    'necks',
    'prop_heads',
    'roi_extractors',
    'track_heads',
    'trackers',
]
