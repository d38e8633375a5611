# What the YouTube-VIS data sets have in common; the children name the files.
img_scale = (640, 360)

train_pipeline = [
    dict(type='LoadVideoFrame'),
    dict(type='LoadTrackedAnnotations'),
    dict(type='Resize', scale=img_scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackFrameInputs'),
]
test_pipeline = [
    dict(type='LoadVideoFrame'),
    dict(type='Resize', scale=img_scale, keep_ratio=True),
    dict(type='PackFrameInputs'),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SeededSampler', shuffle=True),
    dataset=dict(type='YouTubeVIS', reference='random', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='VideoSampler'),
    dataset=dict(type='YouTubeVIS', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='YouTubeVISMetric')
test_evaluator = val_evaluator

val_cfg = dict(type='VideoValLoop')
test_cfg = dict(type='VideoTestLoop')
