"""vispropnet: research training framework for video instance segmentation."""

import warnings as _warnings

from vispropnet import ops as _ops
from vispropnet import threads as _threads

__version__ = '0.1.0'

_threads.set_wait_policy()
_ops.register_stand_in()
# mmdet warns that "metrics will not be computed"; it means one of its own that nothing here uses.
_warnings.filterwarnings('ignore', message='faster_coco_eval is not installed')
# A warning for mmdet's authors, once in each program that makes points of a grid.
_warnings.filterwarnings('ignore', message='torch.meshgrid: in an upcoming release')
