import numpy as np
import pytest

from benchmarking.settings import VosEvaluateSettings as Settings
from benchmarking.vos_evaluate import benchmark, score_plainly
from vispropnet.datasets.index_masks import write_index_mask


def test_the_plain_form_by_hand(tmp_path):
    """A square of 20 pixels, a pixel off in one of two frames that count."""
    for frame, shift in enumerate((0, 1, 0, 3)):
        for kind, by in (('truth', 0), ('results', shift)):
            ids = np.zeros((100, 100), np.uint8)
            ids[40:60, 40 + by : 60 + by] = 7
            ids[0, 0] = 255
            write_index_mask(tmp_path / kind / 'a' / f'{frame}.png', ids)
    found = score_plainly(tmp_path / 'truth', tmp_path / 'results')
    assert found == pytest.approx(((1 + 380 / 420) / 2, 1))


def test_the_last_line(last_line):
    row = benchmark(Settings(size=(96, 64), videos=2, frames=5, objects=3, repeats=1))
    assert last_line() == row
    assert row['name'] == 'vos-evaluate' and row['max_abs_diff'] < 1e-9 and row['objects'] == 3
