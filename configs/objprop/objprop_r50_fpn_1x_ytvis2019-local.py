# Validates each epoch, and is tested, on videos that were left out of training.
_base_ = [
    '../_base_/models/objprop_r50_fpn.py',
    '../_base_/datasets/youtube-vis-2019-local.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

# MaskTrack R-CNN trained on the same part. The released one was trained on all videos, also those
# that are validated on here: a score of what starts from it would not be one of held-out videos.
load_from = 'work_dirs/masktrack-rcnn_r50_fpn_1x_ytvis2019-local/epoch_12.pth'
