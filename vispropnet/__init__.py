"""vispropnet: research training framework for video instance segmentation."""

from vispropnet import ops as _ops

__version__ = '0.1.0'

_ops.register_stand_in()
