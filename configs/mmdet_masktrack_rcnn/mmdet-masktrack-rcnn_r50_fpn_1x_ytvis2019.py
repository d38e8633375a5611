# The same recipe and data with the class that mmdet ships, to compare with.
_base_ = '../masktrack_rcnn/masktrack-rcnn_r50_fpn_1x_ytvis2019.py'

model = dict(
    type='MMDetMaskTrackRCNN',
    track_head=dict(
        _delete_=True,
        type='RoITrackHead',
        roi_extractor={{_base_.model.track_head.roi_extractor}},
        embed_head=dict(
            type='RoIEmbedHead',
            num_fcs=2,
            in_channels={{_base_.model.track_head.embed_head.in_channels}},
            fc_out_channels={{_base_.model.track_head.embed_head.fc_out_channels}},
        ),
        train_cfg=dict(
            assigner={{_base_.model.detector.train_cfg.rcnn.assigner}},
            sampler={{_base_.model.detector.train_cfg.rcnn.sampler}},
        ),
    ),
    tracker=dict(
        _delete_=True,
        type='MaskTrackRCNNTracker',
        match_weights=dict(det_score=1.0, iou=2.0, det_label=10.0),
        num_frames_retain=20,
    ),
)
