"""Processes and signals."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator

_LIBC = ctypes.CDLL(None) if sys.platform == 'linux' else None
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Has the kernel signal this process when its parent ends, even by SIGKILL; only on Linux.

    Args:
        parent: Process id of the parent. If that has ended by now, the signal comes at once.
        number: The signal.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os.kill(os.getpid(), number)


@contextlib.contextmanager
def hold_interrupts() -> Iterator[None]:
    """Delays the signals that ask a process to end until a block has run.

    Only the main thread can do so; in others nothing is delayed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received, before = [], {}
    for name in ('SIGINT', 'SIGTERM', 'SIGHUP'):
        number = getattr(signal, name, None)  # Windows has not all
        # None: a handler that is not Python's cannot be put back.
        if number is not None and signal.getsignal(number) is not None:
            before[number] = signal.signal(number, lambda one, _: received.append(one))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in received[:1]:
        signal.raise_signal(number)
