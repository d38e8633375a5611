# The small model of moving shapes for frames as large as those of YouTube-VIS, on a GPU.
_base_ = '../masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_crowded-shapes.py'

model = dict(
    type='ObjProp',
    prop_head=dict(
        type='PropagationHead',
        in_channels={{_base_.channels}},
        num_levels=3,
        # The finest level is at the paper's stride already.
        level=0,
        stride=8,
        channels={{_base_.channels}},
        num_mask_convs=2,
        num_classes={{_base_.num_classes}},
        mask_norm_cfg={{_base_.norm}},
        class_agnostic=True,
        # As far as in the small model of moving shapes, whose frames are a quarter as wide.
        test_sigma=24.0,
    ),
    recovery=dict(type='TrackRecovery', mask_threshold=0.5, fusion='attention'),
    tracker=dict(iou_weight=0.0, carried='all', carried_weight=10.0, carried_iou=0.0),
)
