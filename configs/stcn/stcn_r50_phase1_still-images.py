# Phase 1: clips of still images, one object each. An epoch of 20,000 images has 2,500 iterations.
_base_ = [
    '../_base_/models/stcn_r50.py',
    '../_base_/datasets/video-objects.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    dict(type='LoadVideoFrame'),
    dict(type='LoadTrackedAnnotations'),
    dict(type='Resize', scale=(100_000, 384), keep_ratio=True),
    dict(type='RandomObjectAffine'),
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomCrop', crop_size=(384, 384), allow_negative_crop=True, recompute_bbox=True),
    dict(type='PackFrameInputs'),
]
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type='StillImages',
        data_root='data/still_images',
        clip_length=3,
        pipeline=train_pipeline,
    ),
)
test_dataloader = dict(
    dataset=dict(
        type='DAVIS',
        data_root='data/DAVIS',
        split='val',
        test_mode=True,
        pipeline={{_base_.test_pipeline}},
    )
)
# Clips of still images are not yet what videos are: validated in phase 2.
val_dataloader = val_evaluator = val_cfg = None

# 300,000 iterations, the rate falls after half of them.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=120)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-5, weight_decay=1e-7))
param_scheduler = [dict(type='MultiStepLR', milestones=[60], gamma=0.1)]
