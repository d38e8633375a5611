# Validates each epoch, and is tested, on videos that were left out of training.
_base_ = [
    '../_base_/models/objprop_r50_fpn.py',
    '../_base_/datasets/ovis-local.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

num_classes = 25

# MaskTrack R-CNN trained on the same part; the propagation head starts fresh.
load_from = 'work_dirs/masktrack-rcnn_r50_fpn_1x_ovis-local/epoch_12.pth'
