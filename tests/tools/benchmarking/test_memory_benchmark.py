import json

import numpy as np
import pytest

from benchmarking.memory import Settings, benchmark, draw_frame
from vispropnet.errors import UserError


@pytest.fixture
def configs(root):
    small = 'rcnn_r18_fpn_2e_moving-shapes.py'
    return dict(
        config=str(root / f'configs/masktrack_rcnn/masktrack-{small}'),
        baseline=str(root / f'configs/mmdet_masktrack_rcnn/mmdet-masktrack-{small}'),
    )


def test_what_grows_and_what_does_not(configs, capsys):
    """Masks of 640 x 360 pixels, ten a frame: 2.2 MiB for each frame that is kept."""
    settings = Settings(**configs, frames=50, short=10, size=(640, 360))
    row = benchmark(settings)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == row
    assert row['name'] == 'memory' and row['frames'] == 50 and row['ours_instances'] == 500
    if row['ours_growth'] is None:
        pytest.skip('this system does not tell the memory of a process')
    # Of what the baseline's tracker keeps, less than half is dropped.
    assert row['baseline_mib'] - row['baseline_short_mib'] > 40
    assert row['ours_mib'] - row['ours_short_mib'] < 15
    assert row['ours_growth'] < 1.05 < row['baseline_growth']


def test_frames_differ_and_repeat():
    first, again, later = (draw_frame(index, (64, 48)) for index in (0, 0, 25))
    assert first.shape == (48, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != later).any()


def test_bad_settings(configs):
    for changed, message in (
        (dict(frames=0), '--frames must be positive'),
        (dict(frames=5, short=5), '--short must be below --frames 5, got 5'),
        (dict(config='none.py'), 'config not found: none.py'),
    ):
        with pytest.raises(UserError, match=message):
            Settings(**{**configs, **changed}).check()
