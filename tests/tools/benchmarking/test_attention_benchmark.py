import math

import pytest
import torch

from benchmarking.attention import benchmark, build_inputs, plain_neck
from benchmarking.settings import AttentionSettings as Settings


@pytest.mark.parametrize('value', ['current', 'reference'])
@pytest.mark.parametrize(('size', 'levels'), [((64, 32), 5), ((96, 64), 1)])
def test_ours_equals_the_dense_form(value, size, levels):
    settings = Settings(size=size, levels=levels, channels=16, value=value)
    neck, current, reference = build_inputs(settings)
    for one, stride in zip(current, (4, 8, 16, 32, 64)[:levels], strict=True):
        assert one.shape == (1, 16, math.ceil(size[1] / stride), math.ceil(size[0] / stride))
    with torch.no_grad():
        ours, dense = neck(current, reference), plain_neck(neck, current, reference)
    for one, other, plain in zip(ours, dense, current, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
        assert (one - plain).abs().max() > 0.01


def test_the_dense_form_by_hand():
    neck, current, reference = build_inputs(Settings(size=(64, 32), levels=3, channels=4))
    current, reference = current[2:], reference[2:]  # 2 x 4 positions
    with torch.no_grad():
        found = plain_neck(neck, current, reference)[0]
        query = neck.conv1(current[0]).relu()[0].flatten(1)
        key = neck.conv1(reference[0]).relu()[0].flatten(1)
        value = neck.conv2(current[0]).relu()[0].flatten(1)
    for here in range(8):
        weights = [math.exp((query[:, here] @ key[:, there]).item()) for there in range(8)]
        attended = sum(value[:, there] * weights[there] for there in range(8)) / sum(weights)
        expected = current[0][0].flatten(1)[:, here] + 0.5 * attended
        torch.testing.assert_close(found[0].flatten(1)[:, here], expected)


def test_the_last_line(last_line):
    row = benchmark(Settings(size=(64, 32), levels=2, channels=16, repeats=1, memory=False))
    assert last_line() == row
    assert row['name'] == 'attention' and row['max_abs_diff'] < 1e-4 and row['levels'] == 2
