import torch

from benchmarking.settings import VosReadoutSettings as Settings
from benchmarking.vos_readout import benchmark, read_plainly


def test_the_plain_form_by_hand():
    keys, values = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[1.0], [2.0], [9.0]])
    # Of the query 1 the squared distances are 1, 0 and 16; the best two count.
    weight = 1 / (1 + torch.e**-1)
    found = read_plainly(keys, values, torch.tensor([[1.0]]), 2)
    torch.testing.assert_close(found, torch.tensor([[2 * weight + (1 - weight)]]))


def test_the_last_line(last_line):
    row = benchmark(Settings(size=(96, 64), frames=3, objects=2, repeats=1, memory=False))
    assert last_line() == row
    assert row['name'] == 'vos-readout' and row['max_abs_diff'] < 1e-5 and row['frames'] == 3
