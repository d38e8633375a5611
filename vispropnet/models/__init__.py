"""Models: detectors, necks, heads, trackers. Importing this package registers them."""

from vispropnet.models.data_preprocessor import VISDataPreprocessor
from vispropnet.models.detectors import MaskTrackRCNN, MMDetMaskTrackRCNN, ObjProp
from vispropnet.models.fewer_waits import (
    HostLevelRoIExtractor,
    HostRandomSampler,
    WaitlessMaxIoUAssigner,
)
from vispropnet.models.frames import Answers, Frame, split_frames
from vispropnet.models.necks import AttentionNeck
from vispropnet.models.prop_heads import (
    CategoryAffinity,
    PlainAffinity,
    PropagationHead,
    WeightedAffinity,
)
from vispropnet.models.roi_extractors import TemporalRoIAlign
from vispropnet.models.track_heads import EmbeddingHead, TrackHead
from vispropnet.models.trackers import MatchingTracker, TrackRecovery

__all__ = [
    'Answers',
    'Frame',
    'split_frames',
    'AttentionNeck',
    'CategoryAffinity',
    'EmbeddingHead',
    'HostLevelRoIExtractor',
    'HostRandomSampler',
    'MMDetMaskTrackRCNN',
    'MaskTrackRCNN',
    'MatchingTracker',
    'ObjProp',
    'PlainAffinity',
    'PropagationHead',
    'TemporalRoIAlign',
    'TrackHead',
    'TrackRecovery',
    'VISDataPreprocessor',
    'WaitlessMaxIoUAssigner',
    'WeightedAffinity',
]
