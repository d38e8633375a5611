# Videos that tools/make_moving_shapes.py writes, in the YouTube-VIS form.
_base_ = './youtube-vis.py'

data_root = 'data/moving_shapes/'
hint = (
    'Make it with: python tools/make_moving_shapes.py FOLDER, and pass --cfg-options '
    'data_root=FOLDER (default: data/moving_shapes).'
)

# Frames of other videos (tools/demo_video.py) are fitted into the size that these are made with.
video_scale = (160, 96)

train_pipeline = [
    dict(type='LoadVideoFrame'),
    dict(type='LoadTrackedAnnotations'),
    dict(type='Resize', scale_factor=1.0),
    dict(
        type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']
    ),
    dict(type='PackFrameInputs'),
]
test_pipeline = [
    dict(type='LoadVideoFrame'),
    dict(type='Resize', scale_factor=1.0),
    dict(type='PackFrameInputs'),
]

train_dataloader = dict(
    num_workers=2,
    dataset=dict(
        data_root=data_root,
        ann_file='train/instances.json',
        data_prefix=dict(img='train/JPEGImages'),
        hint=hint,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        data_root=data_root,
        ann_file='valid/instances.json',
        data_prefix=dict(img='valid/JPEGImages'),
        hint=hint,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
