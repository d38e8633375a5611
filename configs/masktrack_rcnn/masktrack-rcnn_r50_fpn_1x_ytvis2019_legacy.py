# Runs released files of the mmdetection 0.6 era, converted with tools/convert_checkpoint.py, with
# the conventions they were trained with: boxes that are x2 - x1 + 1 wide, anchors centred
# accordingly, RoIAlign with two sampling points a side and no shift by half a pixel. Suppression
# needs no offset: mmdet's legacy coder gives boxes that are x2 - x1 wide, a pixel wider.
_base_ = './masktrack-rcnn_r50_fpn_1x_ytvis2019.py'

roi_extractor = dict(roi_layer=dict(aligned=False, sampling_ratio=2))
bbox_coder = dict(type='LegacyDeltaXYWHBBoxCoder')

model = dict(
    # The original drops a detection whose best track goes to a better one.
    tracker=dict(on_conflict='drop'),
    detector=dict(
        rpn_head=dict(
            anchor_generator=dict(type='LegacyAnchorGenerator', center_offset=0.5),
            bbox_coder=bbox_coder,
        ),
        roi_head=dict(
            bbox_roi_extractor=roi_extractor,
            bbox_head=dict(bbox_coder=bbox_coder),
            mask_roi_extractor=roi_extractor,
        ),
    ),
    track_head=dict(roi_extractor=roi_extractor),
)

# Fine-tuning starts from a converted file; those of COCO have other conventions.
load_from = None
