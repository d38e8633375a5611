"""Models: detectors, necks, heads, trackers. Importing this package registers them."""

from vispropnet.models.data_preprocessor import VISDataPreprocessor
from vispropnet.models.detectors import MaskTrackRCNN, MMDetMaskTrackRCNN, ObjProp
from vispropnet.models.encoders import FeatureExpansion, TimmEncoder
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
from vispropnet.models.segmentors import STCN, MaskDecoder, ValueFusion
from vispropnet.models.track_heads import EmbeddingHead, TrackHead
from vispropnet.models.trackers import (
    AdaptiveSave,
    ChangeSave,
    MatchingTracker,
    PeriodicSave,
    TrackRecovery,
)

__all__ = [
    'Answers',
    'Frame',
    'split_frames',
    'AdaptiveSave',
    'AttentionNeck',
    'CategoryAffinity',
    'ChangeSave',
    'EmbeddingHead',
    'FeatureExpansion',
    'HostLevelRoIExtractor',
    'HostRandomSampler',
    'MMDetMaskTrackRCNN',
    'MaskTrackRCNN',
    'MaskDecoder',
    'MatchingTracker',
    'ObjProp',
    'PeriodicSave',
    'PlainAffinity',
    'PropagationHead',
    'STCN',
    'TimmEncoder',
    'TrackHead',
    'TrackRecovery',
    'VISDataPreprocessor',
    'ValueFusion',
    'WaitlessMaxIoUAssigner',
    'WeightedAffinity',
]
