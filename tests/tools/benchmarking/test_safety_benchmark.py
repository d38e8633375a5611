import pytest

from benchmarking.measure import Comparison
from benchmarking.safety import benchmark, shares
from benchmarking.settings import SafetySettings as Settings
from vispropnet.errors import UserError


def test_shares_by_hand():
    steps = Comparison(seconds=dict(ours=[1.01, 2.04, 1.0], baseline=[1.0, 2.0, 1.0]))
    saves = Comparison(seconds=dict(ours=[3.0, 5.0, 4.0], baseline=[1.0, 1.0, 2.0]))
    row = shares(steps, saves, every=200)
    # Pairs: +1 %, +2 % and 0; a save of 4 s in 200 steps of 1 s.
    found = [row[f'{kind}share'] for kind in ('check_', 'save_', '')]
    assert found == pytest.approx([0.01, 0.02, 0.03])
    assert row['save_s'] == 4.0 and row['mmengine_save_s'] == 1.0


def test_a_real_one(root, last_line):
    config = str(root / 'configs/masktrack_rcnn/masktrack-rcnn_r18_fpn_2e_moving-shapes.py')
    row = benchmark(Settings(config=config, size=(64, 64), batch_size=1, every=10, repeats=1))
    assert last_line() == row
    assert row['name'] == 'safety' and row['every'] == 10
    assert min(row[f'{one}_s'] for one in ('ours', 'baseline', 'save', 'mmengine_save')) > 0
    # 4.3 million weights of 4 bytes, and as many of momentum.
    assert 30 < row['checkpoint_mib'] < 50
    # A config that is not for training.
    config = str(root / 'configs/_base_/models/masktrack-rcnn_r50_fpn.py')
    with pytest.raises(UserError, match='has no optim_wrapper: it is not for training'):
        benchmark(Settings(config=config))
