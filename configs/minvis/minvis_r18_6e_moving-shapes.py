# Small enough to train in half an hour on a CPU, from nothing; the tests build it.
_base_ = [
    '../_base_/models/minvis_r50.py',
    '../_base_/datasets/moving-shapes.py',
    '../_base_/default_runtime.py',
]

num_classes = 4
channels = 64
levels = 2
attention = dict(embed_dims=channels, num_heads=4)
ffn = dict(embed_dims=channels, feedforward_channels=256)
encoding = dict(num_feats=channels // 2)

model = dict(
    num_classes=num_classes,
    detector=dict(
        backbone=dict(
            depth=18,
            stem_channels=32,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(0, 1, 2),
            norm_cfg=dict(type='BN', requires_grad=True),
            norm_eval=False,
        ),
        panoptic_head=dict(
            in_channels=[64, 128, 256],
            feat_channels=channels,
            out_channels=channels,
            # Videos have up to 5 objects.
            num_queries=16,
            num_transformer_feat_level=levels,
            pixel_decoder=dict(
                num_outs=levels,
                norm_cfg=dict(num_groups=8),
                encoder=dict(
                    num_layers=2,
                    layer_cfg=dict(self_attn_cfg=dict(attention, num_levels=levels), ffn_cfg=ffn),
                ),
                positional_encoding=encoding,
            ),
            positional_encoding=encoding,
            transformer_decoder=dict(
                num_layers=3,
                layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn),
            ),
        ),
        train_cfg=dict(num_points=1024),
    ),
)

# The model uses all cores; workers would only take them away from it.
train_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(num_refs=0)
)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=6, val_interval=6)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.0008, weight_decay=0.01, fused=True),
    paramwise_cfg=dict(
        custom_keys={
            'query_embed': dict(decay_mult=0.0),
            'query_feat': dict(decay_mult=0.0),
            'level_embed': dict(decay_mult=0.0),
        },
        norm_decay_mult=0.0,
    ),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=6,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
