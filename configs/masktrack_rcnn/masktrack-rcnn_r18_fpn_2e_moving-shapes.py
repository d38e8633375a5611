# Small enough to train in minutes on a CPU, from nothing; `make demo` and the tests build it.
_base_ = [
    '../_base_/models/masktrack-rcnn_r50_fpn.py',
    '../_base_/datasets/moving-shapes.py',
    '../_base_/default_runtime.py',
]

num_classes = 4
channels = 64
# Objects are 17 to 46 pixels wide: three levels, the first for those below 32.
strides = [4, 8, 16]
finest_scale = 16
# Without pretrained weights the neck and the heads need normalisation too.
norm = dict(type='BN', requires_grad=True)

model = dict(
    detector=dict(
        backbone=dict(
            depth=18,
            stem_channels=32,
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
                out_channels=channels, featmap_strides=strides, finest_scale=finest_scale
            ),
            bbox_head=dict(
                type='ConvFCBBoxHead',
                num_shared_convs=2,
                num_shared_fcs=1,
                in_channels=channels,
                conv_out_channels=channels,
                fc_out_channels=256,
                norm_cfg=norm,
                num_classes=num_classes,
                reg_class_agnostic=True,
            ),
            mask_roi_extractor=dict(
                out_channels=channels, featmap_strides=strides, finest_scale=finest_scale
            ),
            mask_head=dict(
                num_convs=2,
                in_channels=channels,
                conv_out_channels=channels,
                norm_cfg=norm,
                num_classes=num_classes,
                class_agnostic=True,
            ),
        ),
        train_cfg=dict(
            rpn_proposal=dict(max_per_img=60),
            # Categories are told from positive RoIs only: half of few instead of a quarter of many.
            rcnn=dict(sampler=dict(num=48, pos_fraction=0.5)),
        ),
        test_cfg=dict(
            rpn=dict(max_per_img=60),
            # One detection an object, and (below) a say of the category that does not outweigh all
            # else: half as many tracks as with the paper's settings, at the same score.
            rcnn=dict(nms=dict(class_agnostic=True)),
        ),
    ),
    track_head=dict(
        roi_extractor=dict(
            out_channels=channels, featmap_strides=strides, finest_scale=finest_scale
        ),
        embed_head=dict(in_channels=channels, fc_out_channels=128),
    ),
    tracker=dict(label_weight=2.0),
)

# The model uses all cores; workers would only take them away from it.
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=2)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.0015, weight_decay=0.01, fused=True),
    # Dot products of embeddings are not normalised: larger steps make the matching loss explode.
    paramwise_cfg=dict(custom_keys={'track_head': dict(lr_mult=0.3)}),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=2,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
