import os
import time

import pytest
import torch

from benchmarking.inputs import moving_pyramids, settle_norms
from benchmarking.measure import Comparison, Variant, compare, in_a_process, report
from benchmarking.settings import Settings
from vispropnet.engine.quiet import quiet

MIB = 2**20


def make_fill(name, settings):
    """Ours fills a block of memory of 20 MiB, or of 1, the baseline three of them at once."""
    count = 1 if name == 'ours' else 3

    def run(_):
        return len([torch.ones(settings.seed * MIB // 4) for _ in range(count)])

    return Variant(run)


@pytest.mark.xdist_group('measured')
def test_memory_is_the_peak_above_the_start():
    result = compare(make_fill, Settings(seed=20, repeats=1), Settings(seed=1))
    if result.mib['ours'] is None:
        pytest.skip('this system does not say what memory a process has')
    # Far from the hundreds that the process has.
    assert 18 < result.mib['ours'] < 30
    assert 58 < result.mib['baseline'] < 70


@pytest.mark.xdist_group('measured')
def test_runs_alternate_and_preparation_is_not_timed():
    order = []

    def make(name, settings):
        def prepare():
            time.sleep(0.05)
            return name

        return Variant(order.append, prepare)

    result = compare(make, Settings(repeats=4, memory=False))
    # One of each to warm up; then the first of a round is the last of the one before.
    assert order == ['ours', 'baseline'] + ['ours', 'baseline', 'baseline', 'ours'] * 2
    assert all(one < 0.04 for some in result.seconds.values() for one in some)


def test_the_median_of_the_times():
    result = Comparison(seconds={'ours': [5.0, 1.0, 2.0], 'baseline': [4.0, 9.0, 6.0]})
    result.mib = {'ours': 10.0, 'baseline': 40.0}
    row = report('name', Settings(), result, float('nan'), baseline='it')
    expected = dict(ours_s=2.0, baseline_s=6.0, ratio=3.0, max_abs_diff=None, baseline='it')
    assert row == {**row, **expected, 'size': [640, 360]}


def test_a_process_that_dies_gives_none(capsys):
    assert in_a_process(os._exit, 3) is None
    assert 'was there too little memory?' in capsys.readouterr().err


def test_pyramids_move_and_are_seeded():
    options = dict(frames=9, channels=3, levels=2, seed=1, noise=0.0)
    frames, again = (list(moving_pyramids((64, 32), **options)) for _ in range(2))
    assert all(torch.equal(one[0], other[0]) for one, other in zip(frames, again, strict=True))
    assert [tuple(level.shape) for level in frames[0]] == [(1, 3, 8, 16), (1, 3, 4, 8)]
    # After 8 pixels: 2 positions of stride 4, 1 of stride 8; half of one after 2 pixels.
    torch.testing.assert_close(frames[8][0][..., :-2, :-2], frames[0][0][..., 2:, 2:])
    torch.testing.assert_close(frames[8][1][..., :-1, :-1], frames[0][1][..., 1:, 1:])
    middle = (frames[0][0][..., :-1, :-1] + frames[0][0][..., 1:, 1:]) / 2
    torch.testing.assert_close(frames[2][0][..., :-1, :-1], middle)


def test_norms_take_the_statistics_of_the_input():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2)).eval()
    values = torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0]])
    settle_norms(model, lambda: model(values))
    assert model[0].running_mean.tolist() == [3.0, 20.0]
    torch.testing.assert_close(model[0].running_var, torch.tensor([4.0, 300.0]))
    assert not model[0].training and model[0].momentum == 0.1


def test_quiet_swallows_what_is_printed(capsys):
    with quiet():
        print('a line for each weight')
    print('heard')
    assert capsys.readouterr().out == 'heard\n'
