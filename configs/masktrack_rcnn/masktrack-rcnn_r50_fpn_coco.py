# Runs the file of mmdet's Mask R-CNN for COCO's 80 categories as it is, on any video. Nothing was
# trained on videos: objects are compared by their RoI features.
_base_ = [
    '../_base_/models/masktrack-rcnn_r50_fpn.py',
    '../_base_/datasets/youtube-vis-2021.py',
    '../_base_/default_runtime.py',
]

num_classes = 80

model = dict(
    detector=dict(
        roi_head=dict(
            bbox_head=dict(num_classes=num_classes), mask_head=dict(num_classes=num_classes)
        ),
        # As in mmdet's test on COCO, and so are the frames below.
        test_cfg=dict(
            rpn=dict(nms_pre=1000, max_per_img=1000),
            rcnn=dict(score_thr=0.05, max_per_img=100),
        ),
    ),
    track_head=dict(embed_head=dict(_delete_=True, type='RoIFeatureEmbedding')),
)

test_pipeline = [
    dict(type='LoadVideoFrame'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='PackFrameInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
