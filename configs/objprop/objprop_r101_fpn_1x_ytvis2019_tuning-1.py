# Trial "baseline tuning 1": a deeper backbone and deeper heads.
_base_ = './objprop_r50_fpn_1x_ytvis2019.py'

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
    'masktrack_rcnn_r101_fpn_12e_youtubevis2019/'
    'masktrack_rcnn_r101_fpn_12e_youtubevis2019_20211023_150038-454dc48b.pth'
)
