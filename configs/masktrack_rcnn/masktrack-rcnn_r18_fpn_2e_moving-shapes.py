# Small enough to train in minutes on a CPU, from scratch; `make demo` and the tests build it.
_base_ = [
    '../_base_/models/masktrack-rcnn_r50_fpn.py',
    '../_base_/datasets/moving-shapes.py',
    '../_base_/default_runtime.py',
]

num_classes = 4
channels = 64
strides = [4, 8, 16]
norm = dict(type='BN', requires_grad=True)

model = dict(
    detector=dict(
        backbone=dict(
            depth=18,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(0, 1, 2),
            frozen_stages=-1,
            norm_eval=False,
        ),
        neck=dict(in_channels=[64, 128, 256], out_channels=channels, num_outs=3, norm_cfg=norm),
        rpn_head=dict(
            in_channels=channels,
            feat_channels=channels,
            anchor_generator=dict(scales=[5], ratios=[1.0], strides=strides),
        ),
        roi_head=dict(
            bbox_roi_extractor=dict(
                out_channels=channels, featmap_strides=strides, finest_scale=16
            ),
            bbox_head=dict(
                type='ConvFCBBoxHead',
                num_shared_convs=3,
                num_shared_fcs=1,
                conv_out_channels=channels,
                norm_cfg=norm,
                in_channels=channels,
                fc_out_channels=256,
                num_classes=num_classes,
                reg_class_agnostic=True,
            ),
            mask_roi_extractor=dict(
                out_channels=channels, featmap_strides=strides, finest_scale=16
            ),
            mask_head=dict(
                num_convs=2,
                norm_cfg=norm,
                in_channels=channels,
                conv_out_channels=channels,
                num_classes=num_classes,
                class_agnostic=True,
            ),
        ),
        train_cfg=dict(
            rpn=dict(sampler=dict(num=64)),
            rpn_proposal=dict(nms_pre=200, max_per_img=60),
            rcnn=dict(sampler=dict(num=48)),
        ),
        test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=60)),
    ),
    track_head=dict(
        roi_extractor=dict(out_channels=channels, featmap_strides=strides, finest_scale=16),
        embed_head=dict(in_channels=channels, fc_out_channels=128),
    ),
)

train_dataloader = dict(batch_size=4)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=10)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={'track_head': dict(lr_mult=0.3)}),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=10,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
