# What data of video object segmentation have in common; the children name data sets and files.
train_pipeline = [
    dict(type='LoadVideoFrame'),
    dict(type='LoadTrackedAnnotations'),
    dict(type='RandomResize', scale=(854, 480), ratio_range=(0.9, 1.4), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(384, 384), allow_negative_crop=True, recompute_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackFrameInputs'),
]
# Short sides of 480 pixels; masks come back at the size of the original frames.
test_pipeline = [
    dict(type='LoadVideoFrame'),
    dict(type='Resize', scale=(100_000, 480), keep_ratio=True),
    dict(type='PackFrameInputs'),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SeededSampler', shuffle=True),
)
test_dataloader = dict(
    batch_size=1, num_workers=2, persistent_workers=True, sampler=dict(type='VideoSampler')
)

# The runner wants all parts of a test or none; tools/test_vos.py needs the data set only.
test_cfg = dict(type='VideoTestLoop')
test_evaluator = dict(type='YouTubeVISMetric')
# J and F of validation videos.
val_dataloader = test_dataloader
val_evaluator = dict(type='RegionContourMetric')
val_cfg = dict(type='VideoValLoop')
