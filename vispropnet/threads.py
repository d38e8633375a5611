"""Threads that spin only briefly while they wait, so that other work does not slow them down."""

import os

# Any of these in the environment is the user's choice.
VARIABLES = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')
# Some microseconds: enough for the next operation of an unbroken run, which without spinning takes
# 1.6 times as long with small models (docs/benchmarks.md).
WAIT = {'GOMP_SPINCOUNT': '10000'}


def set_wait_policy() -> None:
    """Sets the way in which threads of OpenMP wait, unless the environment says it already.

    By default those of GNU's library, which torch has on Linux, spin for some milliseconds, and
    where other processes need the processors, the thread that all wait for does not get one. Read
    when torch is imported: later calls have no effect; processes that are started inherit it.
    """
    if not any(name in os.environ for name in VARIABLES):
        os.environ.update(WAIT)
