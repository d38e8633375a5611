"""Association of objects from frame to frame, and what is remembered between frames."""

from vispropnet.models.trackers.association import assign, matching_scores
from vispropnet.models.trackers.matching_tracker import MatchingTracker
from vispropnet.models.trackers.object_memory import ObjectMemory
from vispropnet.models.trackers.saving import AdaptiveSave, ChangeSave, PeriodicSave, SaveHistory
from vispropnet.models.trackers.track_memory import TrackMemory
from vispropnet.models.trackers.track_recovery import (
    HistoryFrame,
    PropagationMemory,
    TrackRecovery,
)

__all__ = [
    'AdaptiveSave',
    'ChangeSave',
    'HistoryFrame',
    'MatchingTracker',
    'ObjectMemory',
    'PeriodicSave',
    'PropagationMemory',
    'SaveHistory',
    'TrackMemory',
    'TrackRecovery',
    'assign',
    'matching_scores',
]
