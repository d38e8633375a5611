# The small model of moving shapes for frames as large as those of YouTube-VIS, on a GPU.
_base_ = '../masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_crowded-shapes.py'

reach = 6

model = dict(
    _delete_=True,
    type='MaskProp',
    data_preprocessor={{_base_.model.data_preprocessor}},
    detector={{_base_.model.detector}},
    prop_head=dict(
        type='MaskPropagationHead',
        in_channels={{_base_.channels}},
        level=0,
        stride=8,
        head='gated',
        channels=32,
        offset_channels=64,
    ),
    tracker=dict(type='ClipJoiner', reach=reach),
)

# Masks are carried from the key frame of a clip to two frames within reach.
train_dataloader = dict(dataset=dict(reference='window', num_refs=2, max_distance=reach))
