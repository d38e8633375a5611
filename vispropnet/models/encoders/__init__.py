"""Encoders of images and masks."""

from vispropnet.models.encoders.timm_encoder import FeatureExpansion, TimmEncoder

__all__ = ['FeatureExpansion', 'TimmEncoder']
