# Trial "baseline tuning 2": more weight on categories, all IoU thresholds of assignment + 0.1.
_base_ = './objprop_r18_fpn_2e_crowded-shapes.py'

model = dict(
    detector=dict(
        roi_head=dict(bbox_head=dict(loss_cls=dict(loss_weight=1.5))),
        train_cfg=dict(
            rpn=dict(assigner=dict(pos_iou_thr=0.8, neg_iou_thr=0.4, min_pos_iou=0.4)),
            rcnn=dict(assigner=dict(pos_iou_thr=0.6, neg_iou_thr=0.6, min_pos_iou=0.6)),
        ),
    )
)
