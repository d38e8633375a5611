# Runs the file of mmdet's Mask2Former for COCO's 80 categories as it is, on any video, untrained on
# videos.
_base_ = [
    '../_base_/models/minvis_r50.py',
    '../_base_/datasets/youtube-vis-2021.py',
    '../_base_/default_runtime.py',
]

num_classes = 80

model = dict(num_classes=num_classes)

# As in mmdet's test on COCO.
test_pipeline = [
    dict(type='LoadVideoFrame'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='PackFrameInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
