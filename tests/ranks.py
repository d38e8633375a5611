"""Processes that stand for ranks, on the CPU."""

import os
import socket
from datetime import timedelta

import torch


def join_two(rank, folder):
    """Makes this process one of two ranks, which meet in a folder."""
    if 'lo' in [name for _, name in socket.if_nameindex()]:
        os.environ['GLOO_SOCKET_IFNAME'] = 'lo'
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/meeting',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),  # a rank left waiting fails the test
    )


def leave():
    """Ends this process, whose work is done: torn down, gloo's threads abort it now and then."""
    torch.distributed.destroy_process_group()
    os._exit(0)
