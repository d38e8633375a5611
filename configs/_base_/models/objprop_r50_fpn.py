# ObjProp (Chakravarthy et al. 2021), numbers from the paper and its code.
_base_ = './masktrack-rcnn_r50_fpn.py'

model = dict(
    type='ObjProp',
    detector=dict(
        test_cfg=dict(
            rpn=dict(nms_pre=1000, max_per_img=1000), rcnn=dict(score_thr=0.001, max_per_img=100)
        )
    ),
    prop_head=dict(
        type='PropagationHead',
        in_channels=256,
        num_levels=4,
        level=1,
        stride=8,
        channels=256,
        num_mask_convs=4,
        num_classes={{_base_.num_classes}},
        affinity=dict(type='PlainAffinity'),
        train_sigma=None,
        test_sigma=8.0,
        renormalize=True,
    ),
    recovery=dict(
        type='TrackRecovery',
        enabled=True,
        history_length=24,
        fusion='masks',
        mask_threshold=0.3,
    ),
)
