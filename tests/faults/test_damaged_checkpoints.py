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
from mmengine.logging import MessageHub

from tests.faults.damage import DAMAGES
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.engine.checkpoints.resuming import find_resumable
from vispropnet.errors import UserError


def sound_checkpoint(path):
    """All kinds of content that training's checkpoints have."""
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    hub = MessageHub('damaged')
    hub.update_scalar('train/loss', 1.5)
    torch.save(
        dict(
            state_dict=model.state_dict(),
            optimizer=optimizer.state_dict(),
            message_hub=hub.state_dict(),
            meta=dict(iter=5, epoch=1, seed=0, cfg='model = dict()', time='now'),
        ),
        path,
    )


def leaves(value, place=''):
    """Every tensor and plain value of nested content, by its place."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(entry, f'{place}/{key}')
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from leaves(entry, f'{place}/{index}')
    elif isinstance(value, (torch.Tensor, np.ndarray)):
        yield place, np.asarray(value).tolist()
    elif hasattr(value, 'data'):
        yield place, value.data[0].tolist()
    else:
        yield place, value


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
        assert outcomes[damage.__name__, 'refused'] > outcomes[damage.__name__, 'unharmed'], (
            outcomes
        )
    print({' '.join(key): value for key, value in outcomes.items()})


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(target):
    """Content that would make a file when it is read without care, by name."""
    touch = f'touch {target}'
    code = f'open({str(target)!r}, "w")'
    return {
        'system': Calls(os.system, touch),
        'popen': Calls(os.popen, touch),
        'mkdir': Calls(os.mkdir, str(target)),
        'subprocess': Calls(subprocess.call, touch, None, None),
        'check_output': Calls(subprocess.getoutput, touch),
        'eval': Calls(eval, code),
        'exec': Calls(exec, code),
        'open': Calls(open, str(target), 'w'),
        'partial': Calls(functools.partial, os.system, touch),
        'import': Calls(importlib.import_module, 'antigravity'),
        'builtin import': Calls(builtins.__import__, 'antigravity'),
        'rmtree': Calls(shutil.rmtree, str(target.parent)),
        'nested load': Calls(pickle.loads, pickle.dumps(Calls(os.system, touch))),
        'numpy load': Calls(np.load, str(target), None, True),
    }


@pytest.mark.parametrize('place', ['state_dict', 'optimizer', 'meta', 'message_hub', 'bomb'])
@pytest.mark.parametrize('zipped', [True, False])
def test_files_that_would_run_code_are_refused(tmp_path, place, zipped):
    target = tmp_path / 'made'
    for name, bomb in hostile(target).items():
        path = tmp_path / 'epoch_1.pth'
        sound_checkpoint(path)
        content = torch.load(path, weights_only=False)
        content.setdefault(place, {})['bomb'] = bomb
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        for read in (read_checkpoint, lambda path: find_resumable(path.parent)):
            with pytest.raises(UserError) as caught:
                read(path)
            text = str(caught.value)
            assert 'reading it would run code' in text and '--trust-checkpoint' in text, name
            assert bomb.call[0].__name__ in text, (name, text)
        assert not target.exists() and path.exists(), name
