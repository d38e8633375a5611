import pytest
import torch

from benchmarking.maskprop import benchmark, build_inputs, make
from benchmarking.settings import MaskpropSettings as Settings
from vispropnet.errors import UserError

SMALL = dict(size=(128, 96), channels=16, reach=2, objects=3)


def test_ours_equals_the_definition():
    settings = Settings(**SMALL)
    ours, plain = (make(name, settings)() for name in ('ours', 'baseline'))
    assert ours.shape == (4, 3, 12, 16)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5)
    # Objects differ, and frames do.
    assert ours.std(dim=1).mean() > 0.01 and (ours[0] - ours[3]).abs().max() > 0.01
    head, features, _ = build_inputs(settings)
    with torch.no_grad():
        offsets = head.offsets(*(head.motion(features[at]) for at in (0, 4)))
    assert offsets.abs().mean() > 0.1


def test_the_result(capsys):
    result = benchmark(Settings(**SMALL, repeats=1, memory=False))
    assert result['name'] == 'maskprop' and result['max_abs_diff'] < 1e-5
    assert result['reach'] == 2 and result['objects'] == 3 and result['ratio'] > 0


@pytest.mark.parametrize('name', ['reach', 'objects', 'channels'])
def test_numbers_are_positive(name):
    with pytest.raises(UserError, match=f'--{name} must be positive, got 0'):
        Settings(**{**SMALL, name: 0})
