"""Processes that end with their parent."""

import os
import signal
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != 'linux', reason='the kernel of Linux sends the signal')
def test_a_parent_that_has_ended_by_now_counts_too(root):
    code = (
        'import os, time\n'
        'from vispropnet.engine.processes import die_with_parent\n'
        'die_with_parent({})\n'
        "print('alive')\n"
    )
    env = dict(os.environ, PYTHONPATH=str(root))
    for parent, status, out in (('os.getppid()', 0, 'alive\n'), ('0', -signal.SIGKILL, '')):
        done = subprocess.run(
            [sys.executable, '-c', code.format(parent)], env=env, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (status, out)
