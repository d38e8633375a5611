"""MaskProp beside MaskTrack R-CNN and ObjProp, and its own settings."""

import runpy as _runpy
from pathlib import Path as _Path

title = 'MaskProp'
about = 'The same detector was trained with each way of tracking, then with one thing changed'

# The data and schedules of the trials of modules on ObjProp, so that metrics of both compare.
_trials = _runpy.run_path(str(_Path(__file__).with_name('objprop-trials.py')))
presets = _trials['presets']

_masktrack_rcnn = 'configs/masktrack_rcnn/masktrack-rcnn_{backbone}_fpn_{data}.py'
_objprop = 'configs/objprop/objprop_{backbone}_fpn_{data}.py'
_mask_prop = 'configs/mask_prop/mask-prop_{backbone}_fpn_{data}.py'

# All start from one MaskTrack R-CNN, trained first on the same videos.
starts = {'start': dict(config=_masktrack_rcnn)}
starts_from = 'start'
baseline = 'mask-prop'


def _reach(frames):
    """Clips of other lengths, in training and at test."""
    return dict(
        title=f'T = {frames}',
        change=f'clips of {frames} frames to each side, in training and at test',
        config=_mask_prop,
        overrides=[
            f'model.tracker.reach={frames}',
            f'train_dataloader.dataset.max_distance={frames}',
        ],
    )


def _tested(change, *overrides):
    return dict(change=change, train_as='mask-prop', test_overrides=list(overrides))


trials = {
    'mask-prop': dict(title='MaskProp', change='as its config has it', config=_mask_prop),
    'masktrack-rcnn': dict(
        title='MaskTrack R-CNN',
        change='tracks by embeddings; trained on as many reference frames',
        config=_masktrack_rcnn,
        overrides=['train_dataloader.dataset.num_refs=2'],
    ),
    'objprop': dict(
        title='ObjProp',
        change='tracks by embeddings, propagates missed objects; as many reference frames',
        config=_objprop,
        overrides=['train_dataloader.dataset.num_refs=2'],
    ),
    'head-paper': dict(
        title='Linear head',
        change='the head of the paper, which is linear up to the softmax',
        config=_mask_prop,
        overrides=['model.prop_head.head=paper'],
    ),
    'reach-1': _reach(1),
    'reach-2': _reach(2),
    'reach-4': _reach(4),
    'reach-6': _reach(6),
    'fill-missed': _tested('missed objects filled in', 'model.tracker.fill_missed=True'),
    'delay-0': _tested('ids without delay', 'model.tracker.delay=0'),
    'scores-not': _tested('overlaps alone decide', 'model.tracker.score_weight=0.0'),
    'scored-0.2': _tested('detections above 0.2', 'model.detector.test_cfg.rcnn.score_thr=0.2'),
    'space-time': _tested('overlap of volumes', 'model.tracker.overlap=space-time'),
    'threshold-0.05': _tested('threshold 0.05', 'model.tracker.threshold=0.05'),
    'threshold-0.25': _tested('threshold 0.25', 'model.tracker.threshold=0.25'),
    'threshold-0.4': _tested('threshold 0.4', 'model.tracker.threshold=0.4'),
    'threshold-0.5': _tested('threshold 0.5', 'model.tracker.threshold=0.5'),
}
