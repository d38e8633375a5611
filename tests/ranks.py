"""Processes that stand for ranks, on the CPU."""

import os
import socket
from datetime import timedelta

import torch


def join_two(rank, folder):
    """Makes this process one of two ranks, which meet in a folder."""
    if 'lo' in [name for _, name in socket.if_nameindex()]:
        os.environ['GLOO_SOCKET_IFNAME'] = 'lo'
    # A rank left waiting fails the test.
    place = dict(init_method=f'file://{folder}/meeting', timeout=timedelta(seconds=60))
    torch.distributed.init_process_group('gloo', **place, rank=rank, world_size=2)


def leave():
    """Ends this process, whose work is done: torn down, gloo's threads abort it now and then."""
    torch.distributed.destroy_process_group()
    os._exit(0)
