"""How the process of a rank ends."""

import pytest

from vispropnet.apis.ranks import rank_work
from vispropnet.errors import Stopped, UserError

RANK = """
import atexit, torch
from vispropnet.apis.ranks import rank_work
from vispropnet.errors import Stopped, report_user_errors
torch.distributed.init_process_group('gloo', init_method='file://{store}', rank=0, world_size=1)
atexit.register(print, 'torn down')
with report_user_errors(), rank_work():
    print('working')
    {end}
"""


@pytest.mark.parametrize(
    ('end', 'status', 'said'),
    [
        ('pass', 0, ''),
        ("raise Stopped('stopped by hand', 143)", 143, 'stopped by hand'),
    ],
)
def test_a_rank_ends_before_it_is_torn_down(run_python, tmp_path, end, status, said):
    """Torn down, a process with gloo's threads aborted now and then after its work was done."""
    done = run_python('-c', RANK.format(store=tmp_path / 'store', end=end))
    assert done.returncode == status
    assert done.stdout.splitlines()[-1] == 'working'
    assert done.stderr.count(said) == 1 or not said
    assert 'Traceback' not in done.stderr


def test_a_rank_that_loses_another_says_so(run_python, tmp_path):
    end = "raise RuntimeError('[pair.cc:534] Connection closed by peer [::1]:1')"
    done = run_python('-c', RANK.format(store=tmp_path / 'store', end=end))
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert (
        'error: rank 0 ends, as another rank is gone; see what that one says ([pair' in done.stderr
    )


def test_errors_of_its_own_are_left_as_they_are(run_python, tmp_path):
    done = run_python('-c', RANK.format(store=tmp_path / 'store', end="raise RuntimeError('odd')"))
    assert done.returncode == 1 and 'RuntimeError: odd' in done.stderr


@pytest.mark.parametrize('error', [Stopped('told', 143), UserError('bad'), RuntimeError('odd')])
def test_without_ranks_nothing_is_changed(error):
    with rank_work():
        pass
    with pytest.raises(type(error)) as caught, rank_work():
        raise error
    assert caught.value is error
