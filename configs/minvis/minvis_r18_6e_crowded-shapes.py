# The small model of moving shapes for frames as large as those of YouTube-VIS, on a GPU.
_base_ = './minvis_r18_6e_moving-shapes.py'

num_classes = 8
data_root = 'data/crowded_shapes/'
hint = (
    'Make it with: python tools/make_moving_shapes.py FOLDER --preset crowded --size 640 360, and '
    'pass --cfg-options data_root=FOLDER (default: data/crowded_shapes).'
)
video_scale = (640, 360)

model = dict(
    num_classes=num_classes,
    # Videos have up to 9 objects.
    detector=dict(panoptic_head=dict(num_queries=24), train_cfg=dict(num_points=4096)),
)

data = dict(dataset=dict(data_root=data_root, hint=hint), num_workers=2, persistent_workers=True)
train_dataloader = data
val_dataloader = data
test_dataloader = data
