# MinVIS with a Swin-L of 384 pixels and twice as many queries.
_base_ = './minvis_swin-t.py'

model = dict(
    detector=dict(
        backbone=dict(
            pretrain_img_size=384,
            embed_dims=192,
            depths=[2, 2, 18, 2],
            num_heads=[6, 12, 24, 48],
            window_size=12,
        ),
        panoptic_head=dict(in_channels=[192, 384, 768, 1536], num_queries=200),
    )
)
