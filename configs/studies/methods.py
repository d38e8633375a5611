"""The methods beside each other, from one start."""

import runpy as _runpy
from pathlib import Path as _Path

title = 'Methods'
about = 'One detector, trained further as each method needs it; MinVIS as long from nothing'

# Data, start and schedules of the trials of modules on ObjProp, so that metrics of both compare.
_trials = _runpy.run_path(str(_Path(__file__).with_name('objprop-trials.py')))
presets = {
    name: dict(_trials['presets'][name], about=about_it)
    for name, about_it in (
        ('smoke', 'minutes in all: shows that everything runs, the metrics mean nothing'),
        ('cpu', 'moving shapes with occlusion on two cores, one seed of all in two hours'),
        ('gpu', '640x360 frames with more objects and categories, three at a time on a GPU'),
    )
}

_plain = 'configs/masktrack_rcnn/masktrack-rcnn_{backbone}_fpn_{data}.py'
_temporal = 'configs/temporal_roi_align/masktrack-rcnn_{backbone}_fpn_{data}_temporal-roi-align.py'
_extractor = 'model.detector.roi_head.bbox_roi_extractor'
# All are trained on as many frames of a clip.
_refs = 'train_dataloader.dataset.num_refs=2'

_objprop = 'configs/objprop/objprop_{backbone}_fpn_{data}.py'
starts = {
    'start': dict(config=_plain),
    'start-head': dict(
        config=_objprop, starts_from='start', overrides=['model.freeze_detector=True']
    ),
}
starts_from = 'start'
baseline = 'masktrack-rcnn'

trials = {
    'masktrack-rcnn': dict(
        title='MaskTrack R-CNN',
        change='tracks by embeddings',
        config=_plain,
        overrides=[_refs],
    ),
    'temporal-roi-align': dict(
        title='Temporal RoI Align',
        change='boxes take features from the 6 frames before, searched at the last level',
        config=_temporal,
        overrides=[_refs],
    ),
    'temporal-own-level': dict(
        title='Temporal RoI Align, own level',
        change='the same, searched at the level of the box',
        config=_temporal,
        overrides=[_refs, f'{_extractor}.level=own'],
    ),
    'temporal-untrained': dict(
        title='Temporal RoI Align, untrained',
        change="MaskTrack R-CNN's weights, frames weigh equally (N = 0)",
        config=_temporal,
        train_as='masktrack-rcnn',
        overrides=[f'{_extractor}.num_heads=0'],
    ),
    'mask-prop': dict(
        title='MaskProp',
        change='tracks by masks carried to the frame before and after',
        config='configs/mask_prop/mask-prop_{backbone}_fpn_{data}.py',
        overrides=[_refs],
        # Detections of low scores take ids away from others.
        test_overrides=['model.detector.test_cfg.rcnn.score_thr=0.2'],
    ),
    'mask-prop-paper': dict(
        title='MaskProp, joined as in the paper',
        change='the same weights; 2 frames on each side, overlaps alone, threshold 0.25',
        train_as='mask-prop',
        test_overrides=[
            'model.detector.test_cfg.rcnn.score_thr=0.05',
            'model.tracker.reach=2',
            'model.tracker.threshold=0.25',
            'model.tracker.score_weight=0.0',
        ],
    ),
    'mask-prop-filled': dict(
        title='MaskProp, filled',
        change='the same weights; missed objects are filled in',
        train_as='mask-prop',
        test_overrides=['model.tracker.fill_missed=True'],
    ),
    'objprop': dict(
        title='ObjProp',
        change='propagation carries tracks to each frame, and recovers those that are missing',
        config=_objprop,
        starts_from='start-head',
        overrides=[_refs],
    ),
    'objprop-off': dict(
        title='ObjProp, propagation off',
        change='the same weights, tested without propagation',
        train_as='objprop',
        test_overrides=['model.recovery.enabled=False', 'model.tracker.iou_weight=2.0'],
    ),
    # From nothing, and about as long as the start and the training after it take together.
    'minvis': dict(
        title='MinVIS',
        change='queries matched from frame to frame',
        config='configs/minvis/minvis_{backbone}_{queries_data}.py',
        starts_from='',
        overrides=[
            'train_cfg.max_epochs=6',
            'train_cfg.val_begin=7',
            'param_scheduler.0.end=200',
            'param_scheduler.1.end=6',
            'optim_wrapper.optimizer.lr=0.0008',
        ],
    ),
}
