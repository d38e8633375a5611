import pytest
import torch

from benchmarking.settings import TemporalRoIAlignSettings as Settings
from benchmarking.temporal_roi_align import benchmark, build_inputs, make

SMALL = dict(size=(256, 192), channels=16, frames=3, rois=12)


@pytest.mark.parametrize('level', ['last', 'own'])
@pytest.mark.parametrize('heads', [0, 4])
def test_ours_equals_the_definition(level, heads):
    settings = Settings(**SMALL, level=level, heads=heads)
    ours, plain = (make(name, settings)() for name in ('ours', 'baseline'))
    assert ours.shape == (12, 16, 7, 7)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5)
    align, levels, rois = build_inputs(settings)
    assert len(align.map_roi_levels(rois, 4).unique()) > 1
    # What the frames add is seen.
    levels.support = ()
    assert (align(levels, rois) - plain).abs().max() > 0.1


def test_the_result(capsys):
    result = benchmark(Settings(**SMALL, repeats=1, memory=False))
    assert result['name'] == 'temporal-roi-align' and result['max_abs_diff'] < 1e-5
    assert result['frames'] == 3 and result['ratio'] > 0
