"""Encoders and saving policies of EamStcn in STCN."""

title = 'Encoders and saving policies'
about = 'The same model was trained with another encoder, and tested with other saving policies'
metric = 'JF'
baseline = 'resnet'

_stcn = 'configs/stcn/stcn_{resnet}_{data}.py'
_v2b1 = 'configs/stcn/stcn_v2b1_{data}.py'
_encoders = {
    'resnet': ('ResNet', dict(config=_stcn)),
    'v2b1': ('EfficientNetV2-B1, feature expansion', dict(config=_v2b1)),
    'v2b1-plain': (
        'EfficientNetV2-B1, no expansion',
        dict(config=_v2b1.replace('.py', '_no-expansion.py')),
    ),
}


def _saving(kind, *options):
    # What is not named goes: policies have other options. They differ most by themselves.
    start = ['model.read_previous=False', 'model.saving._delete_=True', f'model.saving.type={kind}']
    return start + [f'model.saving.{one}' for one in options]


_policies = {
    'every-5': ('every 5th frame', _saving('PeriodicSave', 'every=5')),
    'every-25': ('every 25th frame', _saving('PeriodicSave', 'every=25')),
    'adaptive': (
        'when the change of image or masks jumps, and every 25th frame',
        _saving('AdaptiveSave', 'every=25'),
    ),
    'change': (
        'when the changes since the last saved frame add up',
        _saving('ChangeSave', 'threshold=20.0'),
    ),
}

trials = {}
for _name, (_title, _trained) in _encoders.items():
    trials[_name] = dict(
        _trained, title=f'{_title}, every 2nd frame and the one before', change=_title
    )
    for _policy, (_change, _overrides) in _policies.items():
        trials[f'{_name}-{_policy}'] = dict(
            title=f'{_title}, {_policy.replace("-", " ")}',
            change=f'the same weights; a frame is saved {_change}',
            train_as=_name,
            test_overrides=_overrides,
        )


def _schedule(epochs, warm_up):
    """The schedule of the moving-shapes configs, and no validation but the test."""
    return [
        f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_begin={epochs + 1}',
        f'param_scheduler.0.end={warm_up}',
        f'param_scheduler.1.end={epochs}',
    ]


_placeholders = dict(resnet='tiny', data='40e_moving-shapes')
presets = dict(
    smoke=dict(
        about='minutes in all: shows that everything runs, the metrics mean nothing',
        placeholders=_placeholders,
        shapes=dict(preset='easy', videos=8, val_videos=3, frames=6, size=(96, 64)),
        overrides=['default_hooks.logger.interval=1'],
        train_overrides=_schedule(1, 2),
    ),
    # Longer than the published interval of 25 frames, so that policies differ.
    cpu=dict(
        about='moving shapes of 32 frames, on two cores',
        placeholders=_placeholders,
        shapes=dict(preset='easy', videos=300, val_videos=40, frames=32),
        # A CPU with instructions for it trains EfficientNet 1.8 times as fast.
        train_overrides=[
            *_schedule(40, 50),
            'acceleration.amp=bf16',
            'acceleration.channels_last=True',
        ],
    ),
    gpu=dict(
        about='more moving shapes of 64 frames with occlusion, two trials at a time on a GPU',
        placeholders=_placeholders,
        shapes=dict(preset='occlusion', videos=600, val_videos=100, frames=64, size=(320, 192)),
        train_overrides=_schedule(60, 200),
        runs_per_gpu=2,
    ),
)
