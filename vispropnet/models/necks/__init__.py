"""Necks between the feature pyramid and the RPN."""

from vispropnet.models.necks.attention_neck import AttentionNeck

__all__ = ['AttentionNeck']
