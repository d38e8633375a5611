# Trains on YouTube-VIS 2021 and on clips made of COCO images; tests on YouTube-VIS 2021.
_base_ = './youtube-vis-2021.py'

# An epoch has a quarter of the images of COCO, other ones in the next.
ratios = [1, 0.25]
# The 21 categories that both have; COCO's mouse is one for computers.
# fmt: off
shared = [
    'airplane', 'bear', 'bird', 'boat', 'car', 'cat', 'cow', 'dog', 'elephant', 'flying_disc',
    'giraffe', 'horse', 'motorbike', 'person', 'skateboard', 'snowboard', 'surfboard',
    'tennis_racket', 'train', 'truck', 'zebra',
]
# fmt: on

coco_pipeline = [
    dict(type='LoadVideoFrame'),
    dict(type='LoadTrackedAnnotations'),
    dict(type='Resize', scale=(704, 396), keep_ratio=True),
    dict(
        type='EachFrame',
        transforms=[
            dict(type='RandomObjectAffine', degrees=15.0, scale=(0.8, 1.25), shear=5.0, shift=0.1),
            dict(
                type='RandomCrop',
                crop_size=(0.9, 0.9),
                crop_type='relative_range',
                allow_negative_crop=True,
                recompute_bbox=True,
                bbox_clip_border=True,
            ),
        ],
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackFrameInputs'),
]
coco = dict(
    type='PseudoVideos',
    data_root='data/coco_videos/',
    ann_file='instances.json',
    data_prefix=dict(img='frames'),
    category_map=dict(
        {'tennis racket': 'tennis_racket'}, frisbee='flying_disc', motorcycle='motorbike'
    ),
    metainfo=dict(classes=shared),
    hint=(
        'Make it of COCO 2017 (https://cocodataset.org) with: python tools/convert_data.py coco '
        'annotations/instances_train2017.json data/coco_videos --images train2017'
    ),
    pipeline=coco_pipeline,
)

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        ratios=ratios,
        datasets=[_base_.train_dataloader.dataset, coco],
    )
)
