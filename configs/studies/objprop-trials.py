"""The trials of modules on ObjProp."""

title = 'Trials of modules'
about = 'The same model was trained with one module changed at a time'
work_dir = 'work_dirs/trials'

# All start from one MaskTrack R-CNN, trained first on the same videos, to which a propagation head
# has been added, so that a trial differs from the baseline in one thing. A head that is
# trained for as short as a trial finds half as many of the objects that it should.
_masktrack_rcnn = 'configs/masktrack_rcnn/masktrack-rcnn_{backbone}_fpn_{data}.py'
_objprop = 'configs/objprop/objprop_{backbone}_fpn_{data}'
_tuning_1 = _objprop.replace('{backbone}', '{deeper}') + '_tuning-1.py'
_head = ['model.freeze_detector=True']
starts = {
    'start': dict(config=_masktrack_rcnn),
    'start-head': dict(config=f'{_objprop}.py', starts_from='start', overrides=_head),
    'start-deeper': dict(config=_masktrack_rcnn.replace('{backbone}', '{deeper}')),
    'start-deeper-head': dict(config=_tuning_1, starts_from='start-deeper', overrides=_head),
}
starts_from = 'start-head'

baseline = 'baseline'


def _published(ap50, ap75, ar1, ar10, mean):
    metrics = dict(AP50=ap50, AP75=ap75, AR1=ar1, AR10=ar10, mAP=mean)
    return {name: value for name, value in metrics.items() if value is not None}


# Published by the authors of the trials on ObjProp and, for plain MaskTrack R-CNN, which gives mAP
# and three others there, by Yang, Fan and Xu, ICCV 2019, table 2; both YouTube-VIS 2019 validation.
trials = {
    'baseline': dict(
        title='Baseline',
        change='ObjProp as it is',
        config=f'{_objprop}.py',
        published=_published(0.5734, 0.3907, 0.375, 0.4519, 0.3551),
    ),
    'masktrack-rcnn': dict(
        title='MaskTrack R-CNN',
        change='no propagation head at all',
        config=_masktrack_rcnn,
        starts_from='start',
        published=_published(None, 0.326, 0.310, 0.355, 0.303),
    ),
    'masktrack-rcnn-looks': dict(
        title='MaskTrack R-CNN, no last boxes',
        change='the same weights; last boxes have no say in association',
        train_as='masktrack-rcnn',
        test_overrides=['model.tracker.iou_weight=0.0'],
    ),
    'propagation-off': dict(
        title='Propagation off',
        change="the baseline's weights, tested without propagation",
        train_as='baseline',
        test_overrides=['model.recovery.enabled=False', 'model.tracker.iou_weight=2.0'],
    ),
    'propagation-off-looks': dict(
        title='Propagation off, no last boxes',
        change='the same weights; nor have last boxes a say in association',
        train_as='baseline',
        test_overrides=['model.recovery.enabled=False', 'model.tracker.iou_weight=0.0'],
    ),
    'recovery-alone': dict(
        title='Recovery alone',
        change="the baseline's weights; propagation recovers, and has no say in association, as in "
        'the paper',
        train_as='baseline',
        test_overrides=['model.tracker.carried_weight=0.0', 'model.tracker.iou_weight=2.0'],
    ),
    'carried-missing': dict(
        title='Missing tracks are carried',
        change="the baseline's weights; only tracks that no detection is have a say",
        train_as='baseline',
        test_overrides=[
            'model.tracker.carried=missing',
            'model.tracker.carried_weight=10.0',
            'model.tracker.carried_iou=0.5',
            'model.tracker.iou_weight=2.0',
        ],
    ),
    'detector-masks': dict(
        title="The detector's masks",
        change="the baseline's weights; the mask head segments recovered boxes",
        train_as='baseline',
        test_overrides=['model.recovery.masks=detector'],
    ),
    'no-duplicates': dict(
        title='No duplicates',
        change="the baseline's weights; nothing is recovered on top of a detection",
        train_as='baseline',
        test_overrides=['model.recovery.duplicate_iou=0.5'],
    ),
    'tuning-1': dict(
        title='Baseline tuning 1',
        change='deeper backbone, 4 FC layers in bbox and track head, '
        '6 convolutions in the mask head',
        config=_tuning_1,
        starts_from='start-deeper-head',
        published=_published(0.5056, 0.3458, 0.344, 0.392, 0.3139),
    ),
    'tuning-2': dict(
        title='Baseline tuning 2',
        change='bbox classification loss x1.5, IoU thresholds of assignment + 0.1',
        config=f'{_objprop}_tuning-2.py',
        published=_published(0.5362, 0.3666, 0.3532, 0.4191, 0.3358),
    ),
    'ordered': dict(
        title='Ordered pairs',
        change='the reference frame in training is the previous one',
        config=f'{_objprop}_ordered.py',
        published=_published(0.5389, 0.3754, 0.3541, 0.4189, 0.335),
    ),
    'additional-training': dict(
        title='Additional training',
        change='the same schedule once more, from the trained baseline',
        config=f'{_objprop}_additional-training.py',
        starts_from='baseline',
        published=_published(0.5722, 0.4123, 0.3748, 0.4429, 0.3603),
    ),
    'attn-neck': dict(
        title='Attention neck',
        change='attention between frames before the RPN, values of the current frame',
        config=f'{_objprop}_attn-neck.py',
        published=_published(0.5223, 0.365, 0.3624, 0.428, 0.3291),
    ),
    'attn-neck-ordered': dict(
        title='Attention neck, ordered pairs',
        change='both',
        config=f'{_objprop}_attn-neck_ordered.py',
        published=_published(0.5643, 0.3675, 0.3721, 0.4318, 0.3437),
    ),
    'attn-neck-reference': dict(
        title='Attention neck, reference values',
        change='attention between frames before the RPN, values of the reference frame',
        config=f'{_objprop}_attn-neck-reference.py',
    ),
    'weighted-affinity': dict(
        title='Weighted affinity',
        change='one learnable matrix in the affinity, the identity at the start',
        config=f'{_objprop}_weighted-affinity.py',
        published=_published(0.5119, 0.3312, 0.3402, 0.3998, 0.3082),
    ),
    'category-affinity': dict(
        title='Weighted affinity per category',
        change='a learnable matrix of low rank per category, the identity at the start',
        config=f'{_objprop}_category-affinity.py',
    ),
}


def _schedule(epochs, warm_up, *more):
    """The schedule of the moving-shapes configs, and no validation but the test."""
    return [
        f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_begin={epochs + 1}',
        f'param_scheduler.0.end={warm_up}',
        f'param_scheduler.1.end={epochs}',
        *more,
    ]


# A CPU with instructions for it trains 1.7 times as fast in bf16. What is tested is a running mean
# of the weights of about 200 iterations, so that the last steps count less.
_alike = [
    'acceleration.amp=bf16',
    'default_hooks.ema.type=EMAHook',
    'default_hooks.ema.momentum=0.005',
]
_shapes = dict(
    placeholders=dict(
        backbone='r18', deeper='r34', data='2e_moving-shapes', queries_data='6e_moving-shapes'
    ),
    train_overrides=_schedule(1, 100, 'optim_wrapper.optimizer.lr=0.0007', *_alike),
    start_overrides=_schedule(6, 200, *_alike),
)


def _youtube_vis(year, split):
    # Published metrics are of the official validation videos, whose truth is hidden: metrics here
    # are of videos that tools/split_ytvis.py takes out of the training set.
    return dict(
        about=f'YouTube-VIS {year}, the published schedule, one GPU a trial',
        placeholders=dict(backbone='r50', deeper='r101', data=f'1x_ytvis{year}'),
        overrides=[
            'train_dataloader.batch_size=16',
            'train_dataloader.dataset.ann_file=local/train.json',
            'test_dataloader.dataset.ann_file=local/valid.json',
            'test_dataloader.dataset.data_prefix.img=train/JPEGImages',
        ],
        data_name=f'YouTube-VIS {year}, local split',
        split=split,
        published='Published metrics are single runs, of the official validation videos of '
        'YouTube-VIS 2019. Ours are of videos left out of the training set, with YouTube-VIS 2021 '
        'also of other data, so at most differences compare:',
    )


presets = dict(
    smoke=dict(
        about='minutes in all: shows that everything runs, the metrics mean nothing',
        placeholders=_shapes['placeholders'],
        shapes=dict(preset='occlusion', videos=8, val_videos=4, frames=4, size=(96, 64)),
        overrides=['default_hooks.logger.interval=2'],
        train_overrides=_schedule(2, 8, *_alike),
        start_overrides=_schedule(1, 4, *_alike),
        # Barely trained models have no detections of a high score.
        test_overrides=['model.detector.test_cfg.rcnn.score_thr=0.0'],
    ),
    cpu=dict(
        _shapes,
        about='moving shapes with occlusion on two cores, one seed of all trials in 2 hours',
        shapes=dict(preset='occlusion', videos=240, val_videos=240, frames=16),
    ),
    gpu=dict(
        _shapes,
        about='640x360 frames with more objects and categories, three trials at a time on a GPU',
        placeholders=dict(
            backbone='r18', deeper='r34', data='2e_crowded-shapes', queries_data='6e_crowded-shapes'
        ),
        shapes=dict(preset='crowded', videos=200, val_videos=120, frames=16, size=(640, 360)),
        start_overrides=_schedule(5, 200, *_alike),
        runs_per_gpu=3,
    ),
    ytvis19=_youtube_vis(2019, 'train.json'),
    ytvis21=_youtube_vis(2021, 'train/instances.json'),
)
