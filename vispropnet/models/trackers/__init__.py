"""Association of objects from frame to frame, and what is remembered between frames."""

from vispropnet.models.trackers.association import assign_one_to_one, matching_scores
from vispropnet.models.trackers.matching_tracker import MatchingTracker
from vispropnet.models.trackers.track_recovery import TrackRecovery
from vispropnet.models.trackers.video_state import HistoryFrame, VideoState

__all__ = [
    'HistoryFrame',
    'MatchingTracker',
    'TrackRecovery',
    'VideoState',
    'assign_one_to_one',
    'matching_scores',
]
