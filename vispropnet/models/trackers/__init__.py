"""Association of objects from frame to frame, and what is remembered between frames."""

from vispropnet.models.trackers.association import assign, matching_scores
from vispropnet.models.trackers.matching_tracker import MatchingTracker
from vispropnet.models.trackers.track_memory import TrackMemory
from vispropnet.models.trackers.track_recovery import (
    HistoryFrame,
    PropagationMemory,
    TrackRecovery,
)

__all__ = [
    'HistoryFrame',
    'MatchingTracker',
    'PropagationMemory',
    'TrackMemory',
    'TrackRecovery',
    'assign',
    'matching_scores',
]
