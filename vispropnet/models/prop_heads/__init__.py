"""Propagation heads: carrying known objects from frame to frame."""

from vispropnet.models.prop_heads.affinities import (
    CategoryAffinity,
    PlainAffinity,
    WeightedAffinity,
)
from vispropnet.models.prop_heads.mask_propagation_head import MaskPropagationHead
from vispropnet.models.prop_heads.propagation_head import PropagationHead

__all__ = [
    'CategoryAffinity',
    'MaskPropagationHead',
    'PlainAffinity',
    'PropagationHead',
    'WeightedAffinity',
]
