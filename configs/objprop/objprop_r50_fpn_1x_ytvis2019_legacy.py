# Runs the released ObjProp file, converted with tools/convert_checkpoint.py, with the conventions
# it was trained with; see masktrack-rcnn_r50_fpn_1x_ytvis2019_legacy.py. A file with an attention
# neck needs model.attn_neck = dict(type='AttentionNeck', channels=256) too; the released one has
# none.
_base_ = './objprop_r50_fpn_1x_ytvis2019.py'

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
    track_head=dict(
        roi_extractor=roi_extractor,
        # The original compares embeddings of length 1 at test, though it trains them as they are.
        embed_head=dict(normalize_at_test=True),
    ),
    # The original makes attention at the size of the input, from which it is resized, and leaves
    # what arrives under the Gaussian as it is.
    prop_head=dict(resize_attention=True, renormalize=False),
)

# Fine-tuning starts from a converted file; those of COCO have other conventions.
load_from = None
