# The small model of moving shapes for frames as large as those of YouTube-VIS, on a GPU.
_base_ = '../masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_crowded-shapes.py'

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
    # As at 160x96, where they were chosen: objects move by as much of their width in a frame.
    tracker=dict(type='ClipJoiner', reach=1, threshold=0.1, score_weight=1.0),
)

# Masks are carried from the key frame of a clip to two others near it.
train_dataloader = dict(dataset=dict(reference='window', num_refs=2, max_distance=2))
