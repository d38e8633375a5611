from vispropnet.evaluation.average_precision import (
    METRIC_NAMES,
    check_annotations,
    evaluate_tracks,
    format_table,
    read_annotations,
)
from vispropnet.evaluation.result_file import read_results, write_results
from vispropnet.evaluation.tracks import TrackAccumulator, encode_masks
from vispropnet.evaluation.ytvis_metric import YouTubeVISMetric

__all__ = [
    'METRIC_NAMES',
    'TrackAccumulator',
    'YouTubeVISMetric',
    'check_annotations',
    'encode_masks',
    'evaluate_tracks',
    'format_table',
    'read_annotations',
    'read_results',
    'write_results',
]
