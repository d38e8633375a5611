"""Bad numbers on one of several ranks."""

import math

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel

from tests.engine.test_bad_numbers import step, watched
from tests.ranks import join_two, leave
from vispropnet.engine.bad_numbers import BadNumbersHook
from vispropnet.errors import Stopped


def on_rank(rank, folder):
    """What one of two processes does; leaves its weights and its message in ``folder``."""
    join_two(rank, folder)
    MessageHub.get_instance('test_bad_numbers_ranks')

    def wrap(model):
        return MMDistributedDataParallel(module=model, broadcast_buffers=False)

    runner, hook = watched(folder, hook=BadNumbersHook('skip', max_in_a_row=2), wrap=wrap)
    model = runner.model.module
    before = model.weight.detach().clone()
    # A loss of one rank that no gradient tells of.
    step(runner, hook, 1, 1, extra=math.inf if rank else 0)
    assert torch.equal(model.weight, before)
    step(runner, hook, 1 + 2 * rank, 1)
    step(runner, hook, 1, 1, extra=math.inf if rank else 0)
    with pytest.raises(Stopped) as caught:
        step(runner, hook, 1, 1, extra=math.inf if rank else 0)
    (folder / f'said{rank}.txt').write_text(str(caught.value))
    torch.save(model.weight.detach(), folder / f'weight{rank}.pth')
    leave()


def test_ranks_leave_out_the_same_steps(tmp_path):
    torch.multiprocessing.spawn(on_rank, (tmp_path,), nprocs=2)
    said, other = ((tmp_path / f'said{rank}.txt').read_text() for rank in (0, 1))
    assert said == other
    assert 'rank 1: the loss is not finite in epoch 1, at iteration 4' in said
    assert 'rank 0' not in said and 'iter_4_rank_1.pth' in said
    for rank in (0, 1):
        # Mean of x over the ranks is (2, 1), and 2w is (2, 4).
        weight = torch.load(tmp_path / f'weight{rank}.pth', weights_only=True)
        assert weight.tolist() == pytest.approx([1 - 0.4, 2 - 0.5])
    names = sorted(path.name for path in (tmp_path / 'bad_numbers').iterdir())
    assert names == ['iter_1_rank_1.pth', 'iter_3_rank_1.pth', 'iter_4_rank_1.pth']
