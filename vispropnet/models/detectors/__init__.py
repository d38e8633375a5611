"""Video instance segmentation detectors."""

from vispropnet.models.base import VISDetector
from vispropnet.models.detectors.mask_prop import MaskProp
from vispropnet.models.detectors.masktrack_rcnn import MaskTrackRCNN
from vispropnet.models.detectors.minvis import MinVIS
from vispropnet.models.detectors.mmdet_masktrack_rcnn import MMDetMaskTrackRCNN
from vispropnet.models.detectors.objprop import ObjProp
from vispropnet.models.detectors.two_stage import TwoStageVISDetector

__all__ = [
    'MMDetMaskTrackRCNN',
    'MaskProp',
    'MaskTrackRCNN',
    'MinVIS',
    'ObjProp',
    'TwoStageVISDetector',
    'VISDetector',
]
