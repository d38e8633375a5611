# Small enough to train in minutes on a CPU, from nothing; `make demo` and the tests build it.
_base_ = '../masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py'

model = dict(
    type='ObjProp',
    prop_head=dict(
        type='PropagationHead',
        in_channels={{_base_.channels}},
        num_levels=3,
        channels={{_base_.channels}},
        num_mask_convs=2,
        num_classes={{_base_.num_classes}},
        mask_norm_cfg={{_base_.norm}},
        class_agnostic=True,
        # Frames are a quarter as wide as those of YouTube-VIS, objects cross half of them.
        test_sigma=6.0,
    ),
    # On objects this small the paper's 0.3 gives masks that are too large.
    recovery=dict(type='TrackRecovery', mask_threshold=0.5, fusion='attention'),
    # Objects pass each other: where propagation carries them says more than their last boxes.
    tracker=dict(iou_weight=0.0, carried='all', carried_weight=10.0, carried_iou=0.0),
)
