"""Checkpoint files that are damaged, or made to run code: an error, or the same weights."""

import builtins
import collections
import functools
import importlib
import io
import os
import pickle
import random
import shutil
import subprocess

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from tests.faults.damage import DAMAGES
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.engine.checkpoints.resuming import find_resumable
from vispropnet.errors import UserError


def sound_checkpoint(path):
    """All kinds of content that training's checkpoints have."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    (hub := MessageHub('damaged')).update_scalar('train/loss', 1.5)
    states = dict(state_dict=model, optimizer=optimizer, message_hub=hub)
    content = {name: one.state_dict() for name, one in states.items()}
    content['meta'] = dict(iter=5, epoch=1, seed=0, cfg='model = dict()', time='now')
    torch.save(content, path)


def leaves(value, place=''):
    """Every tensor and plain value of nested content, by its place."""
    if isinstance(value, (dict, list, tuple)):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(entry, f'{place}/{key}')
    elif isinstance(value, HistoryBuffer):
        yield place, value.data[0].tolist()
    else:
        yield place, value.tolist() if hasattr(value, 'tolist') else value


@pytest.mark.parametrize('number', [250, pytest.param(10_000, marks=pytest.mark.long)])
def test_damage_is_reported_or_does_not_matter(tmp_path, number):
    path = tmp_path / 'epoch_1.pth'
    sound_checkpoint(path)
    sound, wanted = path.read_bytes(), dict(leaves(read_checkpoint(path)))
    refused, rng = collections.Counter(), random.Random(number)
    for index in range(number):
        content, damage = bytearray(sound), DAMAGES[index % len(DAMAGES)]
        damage(content, rng)
        path.write_bytes(content)
        try:
            found = read_checkpoint(path)
        except UserError as error:
            assert str(path) in str(error)
            refused[damage.__name__] += 1
        else:
            assert dict(leaves(found)) == wanted, (damage.__name__, index)
    # Most are. Names and dates in the archive, and gaps between its parts, do not matter.
    assert all(refused[one.__name__] > number / len(DAMAGES) / 2 for one in DAMAGES), refused


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(target):
    """Content that would make a file when it is read without care."""
    touch, code = f'touch {target}', f'open({str(target)!r}, "w")'
    calls = [
        *((os.system, touch), (os.popen, touch), (os.mkdir, str(target))),
        *((subprocess.call, touch, None, None), (subprocess.getoutput, touch)),
        *((eval, code), (exec, code), (open, str(target), 'w')),
        *((functools.partial, os.system, touch), (shutil.rmtree, str(target.parent))),
        *((importlib.import_module, 'antigravity'), (builtins.__import__, 'antigravity')),
        (pickle.loads, pickle.dumps(Calls(os.system, touch))),
        (np.load, str(target), None, True),
    ]
    return [Calls(*one) for one in calls]


@pytest.mark.parametrize('place', ['state_dict', 'optimizer', 'meta', 'message_hub', 'bomb'])
@pytest.mark.parametrize('zipped', [True, False])
def test_files_that_would_run_code_are_refused(tmp_path, place, zipped):
    target, path = tmp_path / 'made', tmp_path / 'epoch_1.pth'
    sound_checkpoint(path)
    sound = path.read_bytes()
    for bomb in hostile(target):
        content = torch.load(io.BytesIO(sound), weights_only=False)
        content.setdefault(place, {})['bomb'] = bomb
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        for read in (read_checkpoint, lambda path: find_resumable(path.parent)):
            with pytest.raises(UserError) as caught:
                read(path)
            for part in ('reading it would run code', '--trust-checkpoint', bomb.call[0].__name__):
                assert part in str(caught.value)
        assert not target.exists() and path.exists(), bomb.call
