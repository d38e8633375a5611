from mmengine.registry import DATASETS, LOOPS, DefaultScope

from vispropnet import registry


def test_names_are_found_here_then_in_mmdet_then_in_mmengine():
    assert registry.MODELS.get('MaskTrackRCNN').__module__.startswith('vispropnet.')
    assert registry.MODELS.get('FPN').__module__.startswith('mmdet.')
    assert registry.METRICS.get('YouTubeVISMetric').__module__.startswith('vispropnet.')
    assert registry.TRANSFORMS.get('RandomFlip').__module__.startswith('mmdet.')
    assert registry.HOOKS.get('CheckpointHook').__module__.startswith('mmengine.')
    assert registry.OPTIMIZERS.get('AdamW').__name__ == 'AdamW'


def test_mmengine_finds_our_parts_under_our_scope():
    with DefaultScope.overwrite_default_scope('vispropnet'):
        with DATASETS.switch_scope_and_registry(None) as datasets:
            assert datasets.get('YouTubeVIS').__module__ == 'vispropnet.datasets.ytvis'
        with LOOPS.switch_scope_and_registry(None) as loops:
            assert loops.get('VideoTestLoop').__module__ == 'vispropnet.engine.loops'
