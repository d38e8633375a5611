"""RoI extractors beside those of mmdet."""

from vispropnet.models.roi_extractors.temporal_roi_align import TemporalRoIAlign

__all__ = ['TemporalRoIAlign']
