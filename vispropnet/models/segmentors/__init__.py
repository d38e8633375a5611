"""Models that segment objects which are given by masks."""

from vispropnet.models.segmentors.mask_parts import MaskDecoder, ValueFusion
from vispropnet.models.segmentors.stcn import STCN

__all__ = ['STCN', 'MaskDecoder', 'ValueFusion']
