"""Models: detectors, track heads, trackers. Importing this package registers them."""

from vispropnet.models.data_preprocessor import VISDataPreprocessor
from vispropnet.models.detectors import MaskTrackRCNN, MMDetMaskTrackRCNN
from vispropnet.models.track_heads import EmbeddingHead, TrackHead
from vispropnet.models.trackers import MatchingTracker, VideoState

__all__ = [
    'EmbeddingHead',
    'MMDetMaskTrackRCNN',
    'MaskTrackRCNN',
    'MatchingTracker',
    'TrackHead',
    'VISDataPreprocessor',
    'VideoState',
]
