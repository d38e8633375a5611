import pytest
import torch

from tests.pretended_gpu.context import pretended_gpu
from vispropnet.ops.transfer import to_device, to_host


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
def test_columns_come_back_as_they_were(device):
    columns = [[0, 2**40, -1], [0.1, torch.nan, -torch.inf], [True, False, True]]
    columns = [torch.tensor(column) for column in columns]
    found = to_host(*(to_device(column, device) for column in columns))
    for one, expected in zip(found, columns, strict=True):
        assert one.device.type == 'cpu'
        torch.testing.assert_close(one, expected, rtol=0, atol=0, equal_nan=True)
    assert [len(one) for one in to_host(*(column[:0].to(device) for column in columns))] == [0] * 3


@pytest.mark.skipif(torch.cuda.is_available(), reason='only a pretended GPU counts')
def test_waits():
    with pretended_gpu() as gpu:
        there = [to_device(torch.arange(3), 'cuda') for _ in range(3)]
        assert not gpu.waits
        to_host(*there)
        assert len(gpu.waits) == 1
