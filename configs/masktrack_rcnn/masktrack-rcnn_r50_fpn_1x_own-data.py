# Your own data in the YouTube-VIS form (docs/data.md, "Your own data"): copy this file, or set its
# variables in a child or with --cfg-options data_root=DIR anchor_scales=[4] ...
_base_ = [
    '../_base_/models/masktrack-rcnn_r50_fpn.py',
    '../_base_/datasets/youtube-vis.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

data_root = 'data/mine/'
train_file, train_frames = 'train.json', 'frames'
valid_file, valid_frames = 'valid.json', 'frames'
num_classes = 'auto'  # as many as the training file has categories

# Frames are fitted into this size.
img_scale = (640, 360)
# Sides of anchors in strides of their level, which are 4 to 64 pixels: 8 stands for objects of 32
# to 512 pixels at that size. Halve it for objects half as large.
anchor_scales = [8]
# Height through width of anchors.
anchor_ratios = [0.5, 1.0, 2.0]

model = dict(
    detector=dict(rpn_head=dict(anchor_generator=dict(scales=anchor_scales, ratios=anchor_ratios)))
)
train_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file=train_file, data_prefix=dict(img=train_frames))
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file=valid_file, data_prefix=dict(img=valid_frames))
)
test_dataloader = val_dataloader

# The published rate is for 16 clips an iteration.
auto_scale_lr = dict(enable=True)

# Mask R-CNN trained on COCO; what does not fit (class layers, track head) starts fresh.
load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/'
    'mask_rcnn_r50_fpn_1x_coco/mask_rcnn_r50_fpn_1x_coco_20200205-d4b0c5d6.pth'
)
