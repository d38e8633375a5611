"""Ends the process of a rank: after its work, with its error, or with that of another rank."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

import torch
from mmengine.dist import get_rank, is_main_process

from vispropnet.errors import Stopped, UserError

# What gloo and NCCL say when a rank that they wait for has ended.
_GONE = ('Connection closed by peer', 'Connection reset by peer', 'ncclRemoteError')


@contextlib.contextmanager
def rank_work() -> Iterator[None]:
    """Runs the work of a rank, and ends its process after it; without ranks it does neither.

    Left to tear itself down, a process with gloo's threads aborts now and then, long after its work
    is done, and torchrun then takes the whole run for failed.

    Raises:
        Stopped: without ranks, if the work was stopped.
        UserError: if the work failed because another rank ended, which has reported why.
    """
    try:
        yield
    except Stopped as stop:
        if is_main_process() and torch.distributed.is_initialized():
            print(stop, file=sys.stderr)
        _end(stop.status)
        raise
    except RuntimeError as error:
        if not torch.distributed.is_initialized() or not any(one in str(error) for one in _GONE):
            raise
        raise UserError(
            f'rank {get_rank()} ends, because another rank ended; see the message of that one '
            f'({str(error).splitlines()[0]}).'
        ) from None
    _end(0)


def _end(status: int) -> None:
    if not torch.distributed.is_initialized():
        return
    torch.distributed.destroy_process_group()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
