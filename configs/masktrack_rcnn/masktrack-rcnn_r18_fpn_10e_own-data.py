# Your own data (docs/data.md, "Your own data") with the small model, which starts from nothing: to
# try the whole way in minutes on a CPU. For results take masktrack-rcnn_r50_fpn_1x_own-data.py.
_base_ = './masktrack-rcnn_r18_fpn_2e_moving-shapes.py'

data_root = 'data/mine/'
train_file, train_frames = 'train.json', 'frames'
valid_file, valid_frames = 'valid.json', 'frames'
num_classes = 'auto'  # as many as the training file has categories
epochs = 10

# Frames are fitted into this size.
img_scale = (288, 160)
# Sides of anchors in strides of their level, which are 4 to 16 pixels: objects of 32 to 128 pixels.
anchor_scales = [8]
# Height through width of anchors.
anchor_ratios = [0.5, 1.0, 2.0]

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

model = dict(
    detector=dict(rpn_head=dict(anchor_generator=dict(scales=anchor_scales, ratios=anchor_ratios)))
)
hint = 'Make it with: python tools/convert_data.py FORMAT SOURCE OUT, and set data_root.'
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file=train_file,
        data_prefix=dict(img=train_frames),
        hint=hint,
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file=valid_file,
        data_prefix=dict(img=valid_frames),
        hint=hint,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=epochs,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
