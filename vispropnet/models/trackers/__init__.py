"""Association of objects from frame to frame, and recovery of those that were missed."""

from vispropnet.models.trackers.association import assign, matching_scores
from vispropnet.models.trackers.clip_joining import ClipJoiner, JoinMemory
from vispropnet.models.trackers.matching_tracker import MatchingTracker, TrackMemory
from vispropnet.models.trackers.object_memory import ObjectMemory
from vispropnet.models.trackers.query_matching import cosine_similarities, match_queries
from vispropnet.models.trackers.saving import AdaptiveSave, ChangeSave, PeriodicSave, SaveHistory
from vispropnet.models.trackers.track_history import CarriedTracks, HistoryFrame
from vispropnet.models.trackers.track_recovery import TrackRecovery

__all__ = [
    'AdaptiveSave',
    'CarriedTracks',
    'ChangeSave',
    'ClipJoiner',
    'HistoryFrame',
    'JoinMemory',
    'MatchingTracker',
    'ObjectMemory',
    'PeriodicSave',
    'SaveHistory',
    'TrackMemory',
    'TrackRecovery',
    'assign',
    'cosine_similarities',
    'match_queries',
    'matching_scores',
]
