_base_ = [
    '../_base_/models/objprop_r50_fpn.py',
    '../_base_/datasets/youtube-vis-2022.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

# MaskTrack R-CNN trained on the same videos, those of 2021; the propagation head starts fresh.
load_from = (
    'https://download.openmmlab.com/mmtracking/vis/masktrack_rcnn/'
    'masktrack_rcnn_r50_fpn_12e_youtubevis2021/'
    'masktrack_rcnn_r50_fpn_12e_youtubevis2021_20211026_044948-10da90d9.pth'
)
