# MaskProp (Bertasius and Torresani, CVPR 2020) on the detector of MaskTrack R-CNN. Numbers of the
# paper where they are known: T. See docs/methods/maskprop.md.
_base_ = './masktrack-rcnn_r50_fpn.py'

reach = 6

model = dict(
    _delete_=True,
    type='MaskProp',
    data_preprocessor={{_base_.model.data_preprocessor}},
    detector={{_base_.model.detector}},
    prop_head=dict(
        type='MaskPropagationHead',
        in_channels=256,
        level=1,
        stride=8,
        head='gated',
        channels=64,
        offset_channels=128,
    ),
    tracker=dict(type='ClipJoiner', reach=reach, threshold=0.25, overlap='frames'),
)
