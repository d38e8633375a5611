# Small enough to train in minutes on a CPU, from nothing; the tests build it.
_base_ = [
    '../_base_/models/stcn_r50.py',
    '../_base_/datasets/moving-shapes.py',
    '../_base_/default_runtime.py',
]

# The smallest encoder of timm; without pretrained weights its statistics have to be learnt.
encoder = dict(name='test_resnet', pretrained=False, norm_eval=False)
model = dict(
    key_encoder=encoder,
    value_encoder=encoder,
    fusion=dict(out_channels=64),
    decoder=dict(channels=(64, 32)),
    key_channels=32,
    thin_channels=64,
    # Objects move by their own size in a few frames.
    saving=dict(every=2),
    read_previous=True,
    # Early on, else nothing but background is learnt at first.
    bootstrap=dict(start=0, end=150),
)

# The model uses all cores; workers would only take them away from it.
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='VideoObjects',
        _delete_=True,
        data_root={{_base_.data_root}},
        ann_file='train/instances.json',
        data_prefix=dict(img='train/JPEGImages'),
        hint={{_base_.hint}},
        clip_length=3,
        max_gap=5,
        per_video=True,
        pipeline={{_base_.train_pipeline}},
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type='VideoObjects', with_truth=True),
)
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(type='VideoObjects'))
val_evaluator = dict(type='RegionContourMetric')

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=40, val_interval=10)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=40,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
