"""The end of the process of a rank."""

import pytest

from tests.processes import run_tool
from vispropnet.apis.ranks import rank_work
from vispropnet.errors import Stopped, UserError

RANK = """
import sys, torch
from vispropnet.apis.ranks import rank_work
from vispropnet.errors import Stopped, report_user_errors
torch.distributed.init_process_group('gloo', init_method=sys.argv[1], rank=0, world_size=1)
with report_user_errors():
    try:
        with rank_work():
            print('working')
            {end}
    finally:
        print('left')
"""
LOST = '[pair.cc:534] Connection closed by peer [::1]:1'
REASON = 'rank 0 ends, because another rank ended; see the message of that one'


@pytest.mark.parametrize(
    ('end', 'status', 'said'),
    [
        # Torn down, a process with gloo's threads aborted now and then after its work was done.
        ('pass', 0, 'working\n'),
        ("raise Stopped('stopped by hand', 143)", 143, 'working\nstopped by hand\n'),
        (f'raise RuntimeError({LOST!r})', 2, f'working\nleft\nerror: {REASON} ({LOST}).\n'),
        ("raise RuntimeError('odd')", 1, 'RuntimeError: odd\n'),
    ],
)
def test_a_rank_ends_without_being_torn_down(tmp_path, end, status, said):
    (tmp_path / 'rank.py').write_text(RANK.format(end=end))
    found, text = run_tool(tmp_path / 'rank.py', f'file://{tmp_path}/store')
    assert found == status and text.endswith(said)
    assert ('Traceback' in text) == (status == 1) and ('left' in text) == (status in (1, 2))


def test_without_ranks_nothing_is_changed():
    with rank_work():
        pass
    for error in (Stopped('told', 143), UserError('bad'), RuntimeError('odd')):
        with pytest.raises(type(error)) as caught, rank_work():
            raise error
        assert caught.value is error
