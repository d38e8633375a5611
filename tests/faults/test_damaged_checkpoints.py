"""Checkpoint files that are damaged, or made to run code: an error, or the same weights."""

import builtins
import collections
import functools
import importlib
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
    hub = MessageHub('damaged')
    hub.update_scalar('train/loss', 1.5)
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


@pytest.mark.parametrize('number', [250, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damage_is_reported_or_does_not_matter(tmp_path, number):
    path = tmp_path / 'epoch_1.pth'
    sound_checkpoint(path)
    sound, wanted = path.read_bytes(), dict(leaves(read_checkpoint(path)))
    outcomes = collections.Counter()
    rng = random.Random(number)
    for index in range(number):
        content, damage = bytearray(sound), DAMAGES[index % len(DAMAGES)]
        damage(content, rng)
        path.write_bytes(content)
        try:
            found = read_checkpoint(path)
        except UserError as error:
            assert str(path) in str(error)
            outcomes[damage.__name__, 'refused'] += 1
        else:
            assert dict(leaves(found)) == wanted, (damage.__name__, index)
            outcomes[damage.__name__, 'unharmed'] += 1
    for damage in DAMAGES:
        # Names and dates in the archive, and gaps between its parts, do not matter.
        refused, unharmed = (outcomes[damage.__name__, one] for one in ('refused', 'unharmed'))
        assert refused > unharmed, outcomes


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(target):
    """Content that would make a file when it is read without care."""
    touch = f'touch {target}'
    code = f'open({str(target)!r}, "w")'
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
    target = tmp_path / 'made'
    path = tmp_path / 'epoch_1.pth'
    sound_checkpoint(path)
    sound = path.read_bytes()
    for bomb in hostile(target):
        path.write_bytes(sound)
        content = torch.load(path, weights_only=False)
        content.setdefault(place, {})['bomb'] = bomb
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        for read in (read_checkpoint, lambda path: find_resumable(path.parent)):
            with pytest.raises(UserError) as caught:
                read(path)
            text = str(caught.value)
            assert 'reading it would run code' in text and '--trust-checkpoint' in text
            assert bomb.call[0].__name__ in text
        assert not target.exists() and path.exists(), bomb.call
