_base_ = [
    '../_base_/models/mask-prop_cascade_r50_fpn.py',
    '../_base_/datasets/youtube-vis-2019.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

# Masks are carried from the key frame of a clip to two frames within reach.
train_dataloader = dict(dataset=dict(reference='window', num_refs=2, max_distance={{_base_.reach}}))
# Cascade Mask R-CNN trained on COCO; what does not fit starts fresh.
load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/cascade_rcnn/'
    'cascade_mask_rcnn_r50_fpn_1x_coco/cascade_mask_rcnn_r50_fpn_1x_coco_20200203-9d4dcb24.pth'
)
