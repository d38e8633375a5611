# MinVIS: AdamW, 32 frames an iteration (8 GPUs with 4 each; Swin-L on 16 GPUs with 2), short sides
# of 360 or 480 pixels. The configs of Mask2Former for videos, on which it builds, have 6,000
# iterations with a step at 4,000 on YouTube-VIS 2019, and 8,000 with a step at 5,500 on 2021. Of 32
# frames these are about 3 times all annotated frames; here, as all frames once are an epoch, 3
# epochs with a step after 2.
single_frames = dict(
    num_refs=0,
    pipeline=[
        dict(type='LoadVideoFrame'),
        dict(type='LoadTrackedAnnotations'),
        dict(
            type='RandomChoiceResize',
            scales=[(640, 360), (854, 480)],
            resize_type='mmdet.Resize',
            keep_ratio=True,
        ),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackFrameInputs'),
    ],
)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1)
no_decay = dict(decay_mult=0.0)
backbone_no_decay = dict(lr_mult=0.1, decay_mult=0.0)
backbone_norms = ['backbone.norm', 'patch_embed.norm', 'downsample.norm']
backbone_norms += ['norm1.weight', 'norm1.bias', 'norm2.weight', 'norm2.bias']
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.0001, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)),
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            **dict.fromkeys(backbone_norms, backbone_no_decay),
            'absolute_pos_embed': backbone_no_decay,
            'relative_position_bias_table': backbone_no_decay,
            'query_embed': no_decay,
            'query_feat': no_decay,
            'level_embed': no_decay,
        },
        norm_decay_mult=0.0,
    ),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=3, milestones=[2], gamma=0.1),
]
# Scale the learning rate with `--cfg-options auto_scale_lr.enable=True` on another number of GPUs.
auto_scale_lr = dict(enable=False, base_batch_size=32)
