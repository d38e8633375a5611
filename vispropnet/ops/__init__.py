"""Operators: the stand-in for mmcv's compiled ones. Importing this does not import torch."""

from vispropnet.ops.stand_in import register_stand_in

__all__ = ['register_stand_in']
