"""Video instance segmentation detectors."""

from vispropnet.models.base import VISDetector
from vispropnet.models.detectors.masktrack_rcnn import MaskTrackRCNN
from vispropnet.models.detectors.mmdet_masktrack_rcnn import MMDetMaskTrackRCNN
from vispropnet.models.detectors.objprop import ObjProp

__all__ = ['MMDetMaskTrackRCNN', 'MaskTrackRCNN', 'ObjProp', 'VISDetector']
