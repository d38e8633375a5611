_base_ = [
    '../_base_/models/objprop_r50_fpn.py',
    '../_base_/datasets/youtube-vis-2019.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

# MaskTrack R-CNN trained on YouTube-VIS 2019; the propagation head starts fresh.
load_from = (
    'https://download.openmmlab.com/mmtracking/vis/masktrack_rcnn/'
    'masktrack_rcnn_r50_fpn_12e_youtubevis2019/'
    'masktrack_rcnn_r50_fpn_12e_youtubevis2019_20211022_194830-6ca6b91e.pth'
)
