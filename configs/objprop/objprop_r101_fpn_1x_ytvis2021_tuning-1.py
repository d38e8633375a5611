# Trial "baseline tuning 1": a deeper backbone and deeper heads.
_base_ = './objprop_r50_fpn_1x_ytvis2021.py'

model = dict(
    detector=dict(
        backbone=dict(depth=101),
        roi_head=dict(
            bbox_head=dict(type='ConvFCBBoxHead', num_shared_fcs=4), mask_head=dict(num_convs=6)
        ),
    ),
    track_head=dict(embed_head=dict(num_fcs=4)),
)
load_from = (
    'https://download.openmmlab.com/mmtracking/vis/masktrack_rcnn/'
    'masktrack_rcnn_r101_fpn_12e_youtubevis2021/'
    'masktrack_rcnn_r101_fpn_12e_youtubevis2021_20211026_045509-3c49e4f3.pth'
)
