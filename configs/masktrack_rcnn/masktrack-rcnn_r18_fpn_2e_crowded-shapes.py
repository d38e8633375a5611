# The small model of moving shapes for frames as large as those of YouTube-VIS, on a GPU.
_base_ = './masktrack-rcnn_r18_fpn_2e_moving-shapes.py'

num_classes = 8
# Objects are 40 to 160 pixels wide: three levels, the first for those below 128.
strides = [8, 16, 32]
finest_scale = 64
roi_extractor = dict(featmap_strides=strides, finest_scale=finest_scale)

data_root = 'data/crowded_shapes/'
hint = (
    'Make it with: python tools/make_moving_shapes.py FOLDER --preset crowded --size 640 360, and '
    'pass --cfg-options data_root=FOLDER (default: data/crowded_shapes).'
)
video_scale = (640, 360)

model = dict(
    detector=dict(
        backbone=dict(out_indices=(1, 2)),
        neck=dict(in_channels=[128, 256]),
        rpn_head=dict(anchor_generator=dict(strides=strides)),
        roi_head=dict(
            bbox_roi_extractor=roi_extractor,
            bbox_head=dict(num_classes=num_classes),
            mask_roi_extractor=roi_extractor,
            mask_head=dict(num_classes=num_classes),
        ),
        train_cfg=dict(
            rpn_proposal=dict(max_per_img=100),
            rcnn=dict(sampler=dict(num=96)),
        ),
        test_cfg=dict(rpn=dict(max_per_img=100)),
    ),
    track_head=dict(roi_extractor=roi_extractor),
)

data = dict(dataset=dict(data_root=data_root, hint=hint), num_workers=2, persistent_workers=True)
train_dataloader = dict(data, batch_size=8)
val_dataloader = data
test_dataloader = data
