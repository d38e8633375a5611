# Joint training on YouTube-VIS 2021 and clips of COCO images (docs/data.md, "Images as videos").
_base_ = [
    '../_base_/models/objprop_r50_fpn.py',
    '../_base_/datasets/coco-youtube-vis-2021.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

# MaskTrack R-CNN trained on the same data; the propagation head starts fresh.
load_from = 'work_dirs/masktrack-rcnn_r50_fpn_1x_coco-ytvis2021/epoch_12.pth'
