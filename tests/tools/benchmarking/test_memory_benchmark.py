import os

import numpy as np
import pytest

from benchmarking.frames import draw_frame
from benchmarking.memory import benchmark
from benchmarking.settings import MemorySettings as Settings


@pytest.mark.slow
@pytest.mark.xdist_group('measured')
def test_what_grows_and_what_does_not(last_line, tmp_path):
    """Masks of 1280 x 720 pixels, ten a frame: 8.8 MiB for each frame that is kept."""
    config = tmp_path / 'every_detection.py'
    base = os.path.abspath(Settings().config)
    config.write_text(f"_base_ = {base!r}\nmodel = dict(tracker=dict(on_conflict='next'))\n")
    row = benchmark(Settings(config=str(config), frames=14, short=6, size=(1280, 720)))
    assert last_line() == row
    assert row['name'] == 'memory' and row['frames'] == 14 and row['ours_instances'] == 140
    if row['ours_growth'] is None:
        pytest.skip('this system does not say what memory a process has')
    # Of what the baseline's tracker keeps, less than half is dropped.
    assert row['baseline_mib'] - row['baseline_short_mib'] > 40
    assert row['ours_mib'] - row['ours_short_mib'] < 15
    assert row['ours_growth'] < 1.02 < row['baseline_growth']


def test_frames_differ_and_repeat():
    first, again, later = (draw_frame(index, (64, 48)) for index in (0, 0, 25))
    assert first.shape == (48, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != later).any()
