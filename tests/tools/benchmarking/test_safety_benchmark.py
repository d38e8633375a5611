"""What checks and checkpoints cost."""

import json

import pytest

from benchmarking.measure import Comparison
from benchmarking.safety import SafetySettings, _figures, benchmark_safety
from vispropnet.errors import UserError


@pytest.fixture
def config(root):
    return str(root / 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py')


def test_shares_by_hand():
    steps = Comparison(seconds=dict(ours=[1.01, 2.04, 1.0], baseline=[1.0, 2.0, 1.0]))
    saves = Comparison(seconds=dict(ours=[3.0, 5.0, 4.0], baseline=[1.0, 1.0, 2.0]))
    row = _figures(steps, saves, every=200)
    # Pairs: +1 %, +2 % and 0; a save of 4 s in 200 steps of 1 s.
    assert row['check_share'] == pytest.approx(0.01)
    assert row['save_share'] == pytest.approx(0.02)
    assert row['share'] == pytest.approx(0.03)
    assert row['save_s'] == 4.0 and row['mmengine_save_s'] == 1.0


def test_a_real_one(config, capsys):
    settings = SafetySettings(config, config, size=(64, 64), batch_size=1, every=10)
    row = benchmark_safety(settings, repeats=1)
    printed = capsys.readouterr().out.splitlines()
    assert json.loads(printed[-1]) == row | {'size': [64, 64]}
    assert row['name'] == 'safety' and row['every'] == 10
    assert min(row['step_s'], row['plain_step_s'], row['save_s'], row['mmengine_save_s']) > 0
    # 4.3 million weights of 4 bytes, and as many of momentum.
    assert 30 < row['checkpoint_mib'] < 50


def test_bad_settings(config, root):
    with pytest.raises(UserError, match='--every must be positive, got 0'):
        benchmark_safety(SafetySettings(config, config, every=0), 1)
    with pytest.raises(UserError, match='config not found: none'):
        benchmark_safety(SafetySettings('none', 'none'), 1)
