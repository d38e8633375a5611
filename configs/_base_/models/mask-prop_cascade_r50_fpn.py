# MaskProp on Cascade Mask R-CNN (Cai and Vasconcelos, CVPR 2018), numbers of its paper.
_base_ = './mask-prop_r50_fpn.py'

_turns = [(0.5, [0.1, 0.1, 0.2, 0.2]), (0.6, [0.05, 0.05, 0.1, 0.1])]
_turns += [(0.7, [0.033, 0.033, 0.067, 0.067])]
_roi_head, _rcnn = _base_.model.detector.roi_head, _base_.model.detector.train_cfg.rcnn

model = dict(
    detector=dict(
        type='CascadeRCNN',
        roi_head=dict(
            type='CascadeRoIHead',
            num_stages=3,
            stage_loss_weights=[1, 0.5, 0.25],
            bbox_head=[
                dict(
                    _roi_head.bbox_head,
                    reg_class_agnostic=True,
                    bbox_coder=dict(_roi_head.bbox_head.bbox_coder, target_stds=stds),
                )
                for _, stds in _turns
            ],
            mask_head=_roi_head.mask_head,
        ),
        train_cfg=dict(
            rcnn=[
                dict(
                    _rcnn,
                    assigner=dict(
                        _rcnn.assigner,
                        pos_iou_thr=iou,
                        neg_iou_thr=iou,
                        min_pos_iou=iou,
                        match_low_quality=False,
                    ),
                )
                for iou, _ in _turns
            ]
        ),
    ),
)
