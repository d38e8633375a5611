"""Temporal RoI Align beside RoIAlign in MaskTrack R-CNN."""

import runpy as _runpy
from pathlib import Path as _Path

title = 'Temporal RoI Align'
about = 'The same model was trained and tested with one thing changed at a time'

# The data and schedules of the trials of modules on ObjProp, so that metrics of both compare.
_trials = _runpy.run_path(str(_Path(__file__).with_name('objprop-trials.py')))
presets = _trials['presets']

_plain = 'configs/masktrack_rcnn/masktrack-rcnn_{backbone}_fpn_{data}.py'
_temporal = 'configs/temporal_roi_align/masktrack-rcnn_{backbone}_fpn_{data}_temporal-roi-align.py'
_extractor = 'model.detector.roi_head.bbox_roi_extractor'

starts = {'start': dict(config=_plain)}
starts_from = 'start'
baseline = 'roi-align'


def _trained(change, *overrides):
    return dict(change=change, config=_temporal, overrides=list(overrides))


def _tested(change, *overrides):
    return dict(change=change, train_as='online-6', test_overrides=list(overrides))


trials = {
    'roi-align': dict(
        title='RoIAlign',
        change='MaskTrack R-CNN as it is, trained on as many reference frames',
        config=_plain,
        overrides=['train_dataloader.dataset.num_refs=2'],
    ),
    'untrained': dict(
        change='weights of the baseline, equal weights of 6 frames before',
        config=_temporal,
        train_as='roi-align',
        overrides=[f'{_extractor}.num_heads=0'],
    ),
    'online-6': _trained('the 6 frames before, 2 positions of each, 4 heads, box head'),
    'online-2': _tested('tested with the 2 frames before', 'model.support.num_frames=2'),
    'online-14': _tested('tested with the 14 frames before', 'model.support.num_frames=14'),
    'offline-14': _tested(
        'tested with 14 frames spread over the whole video',
        'model.support.mode=offline',
        'model.support.num_frames=14',
    ),
    'similar-4': _trained('4 positions of each frame', f'{_extractor}.num_most_similar=4'),
    'heads-0': _trained('frames weigh equally', f'{_extractor}.num_heads=0'),
    'own-level': _trained('search at the level of the RoI', f'{_extractor}.level=own'),
    'box-mask': _trained(
        'in the mask head too',
        'model.detector.roi_head.mask_roi_extractor.type=vispropnet.TemporalRoIAlign',
    ),
}
