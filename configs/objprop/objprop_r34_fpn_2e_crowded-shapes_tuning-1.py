# Trial "baseline tuning 1": a deeper backbone and deeper heads.
_base_ = './objprop_r18_fpn_2e_crowded-shapes.py'

model = dict(
    detector=dict(
        backbone=dict(depth=34),
        roi_head=dict(bbox_head=dict(num_shared_fcs=4), mask_head=dict(num_convs=6)),
    ),
    track_head=dict(embed_head=dict(num_fcs=4)),
)
