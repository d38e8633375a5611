import signal
import sys

import pytest


@pytest.mark.skipif(sys.platform != 'linux', reason='the kernel of Linux sends the signal')
def test_a_parent_that_has_ended_by_now_counts_too(run_python):
    code = "import os, vispropnet.engine.processes as p; p.die_with_parent({}); print('alive')"
    for parent, status, out in (('os.getppid()', 0, 'alive\n'), ('0', -signal.SIGKILL, '')):
        done = run_python('-c', code.format(parent))
        assert (done.returncode, done.stdout) == (status, out)
