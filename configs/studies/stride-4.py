"""The propagation head of ObjProp at stride 4 beside the one at stride 8."""

import runpy as _runpy
from pathlib import Path as _Path

title = 'Stride 4'
about = 'The propagation head works on finer features'

# Data and schedules of the trials of modules on ObjProp, so that metrics of both compare. Not those
# of crowded shapes, whose detector has no features at stride 4.
_trials = _runpy.run_path(str(_Path(__file__).with_name('objprop-trials.py')))
presets = {name: _trials['presets'][name] for name in ('smoke', 'cpu')}

_objprop = 'configs/objprop/objprop_{backbone}_fpn_{data}.py'
_stride_4 = ['model.prop_head.level=0', 'model.prop_head.stride=4']
starts = {name: _trials['starts'][name] for name in ('start', 'start-head')} | {
    'start-head-stride-4': dict(
        config=_objprop, starts_from='start', overrides=['model.freeze_detector=True', *_stride_4]
    ),
}
starts_from = 'start-head'

baseline = 'baseline'
trials = {
    'baseline': dict(title='Stride 8', config=_objprop),
    'stride-4': dict(
        title='Stride 4',
        config=_objprop,
        starts_from='start-head-stride-4',
        overrides=_stride_4,
        # As far as at stride 8.
        test_overrides=['model.prop_head.test_sigma=12.0'],
    ),
}
