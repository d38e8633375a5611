import copy
import math
import os
import re

import pytest
import torch
from mmengine.logging import MessageHub

from tests.engine.checkpoints.test_checkpoint_reading import Hostile, flip
from vispropnet.engine.checkpoints.resuming import (
    check_kinds,
    check_optimizer,
    find_resumable,
    sound_state,
)
from vispropnet.errors import UserError


def state(iterations=5):
    meta = dict(epoch=1, iter=iterations, seed=0, batches_done=2, batch_size=4, world_size=1)
    weights, hub = {'weight': torch.arange(1000.0)}, MessageHub('state').state_dict()
    return dict(state_dict=weights, optimizer={}, meta=dict(meta, cfg='a = 1'), message_hub=hub)


def save(path, iterations=1, **more):
    torch.save({**state(iterations), **more}, path)
    return path


def test_the_newest_that_is_whole_is_chosen(tmp_path):
    assert find_resumable(tmp_path) == (None, [])
    first, second = save(tmp_path / 'epoch_1.pth', 10), save(tmp_path / 'epoch_2.pth', 20)
    middle = save(tmp_path / 'interrupted.pth', 15)
    # Copying may change times; what counts is how far training was.
    os.utime(first, (2e9, 2e9))
    # Not to resume from: no name of ours, and weights alone.
    save(tmp_path / 'best_ytvis_mAP_epoch_9.pth', 90)
    assert find_resumable(tmp_path) == (second, [])
    flip(second)
    found, (reason,) = find_resumable(tmp_path)
    assert found == middle and reason.startswith('epoch_2.pth: the checksum of its part')
    middle.write_bytes(b'')
    found, reasons = find_resumable(tmp_path)
    assert found == first and reasons[0].startswith('epoch_2.pth')
    # To begin anew silently would be to throw away what can perhaps be mended.
    first.unlink()
    with pytest.raises(UserError) as caught:
        find_resumable(tmp_path)
    text = str(caught.value)
    assert 'resumed from none of its checkpoints:\n  epoch_2.pth: the checksum' in text
    assert 'interrupted.pth: ' in text and 'remove them or choose another --work-dir' in text


def test_what_training_cannot_be_resumed_from_is_skipped(tmp_path):
    old = save(tmp_path / 'epoch_1.pth')
    os.utime(old, (1, 1))
    save(tmp_path / 'epoch_2.pth', meta=dict(epoch=1))
    (tmp_path / 'epoch_3.pth').mkdir()
    (tmp_path / 'epoch_4.pth').symlink_to(tmp_path / 'gone.pth')
    # Opened, it would wait for somebody to write.
    os.mkfifo(tmp_path / 'epoch_5.pth')
    reasons = ['epoch_2.pth: it does not say at which iteration it was written']
    reasons += [f'epoch_{number}.pth: it is no regular file' for number in (3, 4, 5)]
    assert find_resumable(tmp_path) == (old, reasons)


def test_hostile_files_are_skipped_unread_and_code_in_a_state_is_not_taken_over(tmp_path):
    target = tmp_path / 'made'
    path = save(tmp_path / 'epoch_2.pth', bomb=Hostile(target))
    with pytest.raises(UserError, match=r'posix\.mkdir'):
        find_resumable(tmp_path)
    assert not target.exists()
    assert find_resumable(tmp_path, trust=True) == (path, []) and target.exists()
    # mmengine runs the text of ``meta.config`` to read a number from it.
    found = state()
    found['meta'].update(config="import os; os.mkdir('made')", anything=object())
    assert sound_state(found)['meta'] == state()['meta']


def test_what_is_wrong_in_a_state_is_named():
    ids = 'message_hub.runtime_info.keep_ckpt_ids must be a list of whole numbers'
    for part, change, words in (
        ('meta', dict(epoch='many'), "meta.epoch must be a number of epochs, found 'many'"),
        ('meta', dict(epoch=-3), 'meta.epoch must be'),
        ('meta', dict(epoch=10**30), 'meta.epoch must be'),
        ('meta', dict(iter=-5), 'does not say at which iteration'),
        ('meta', dict(iter=True), 'does not say at which iteration'),
        ('meta', dict(batches_done=1.5), 'meta.batches_done must be a whole number, found 1.5'),
        ('meta', dict(batches_done=-2), 'meta.batches_done must be a whole number'),
        ('meta', dict(batch_size=None), 'meta.batch_size must be a whole number, found None'),
        ('meta', dict(seed='x'), "meta.seed must be a seed, found 'x'"),
        ('meta', dict(seed=2**32), 'meta.seed must be a seed, found 4294967296'),
        ('message_hub', dict(runtime_info=3), 'message_hub.runtime_info must be a dict, found 3'),
        ('message_hub', dict(runtime_info=dict(keep_ckpt_ids=['/../../victim'])), ids),
    ):
        found = state()
        found[part].update(change)
        with pytest.raises(UserError, match=re.escape(words)):
            sound_state(found)
    for part in state():
        found = {**state(), part: 5}
        with pytest.raises(UserError, match=f'{part} must be a dict, found 5'):
            sound_state(found)
        del found[part]
        with pytest.raises(UserError, match=f'it has no {part}'):
            sound_state(found)


def trained(optimizer_class, **options):
    weight = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = optimizer_class([weight], lr=0.1, **options)
    fresh = [dict(group) for group in optimizer.param_groups]
    weight.grad = torch.ones(2, 3)
    optimizer.step()
    return optimizer, fresh, weight


def test_sound_optimisers_pass_and_those_of_another_kind_are_refused():
    for optimizer_class, options in (
        (torch.optim.SGD, dict(momentum=0.9)),
        (torch.optim.SGD, {}),
        (torch.optim.AdamW, dict(amsgrad=True)),
        (torch.optim.Adafactor, {}),
        (torch.optim.RMSprop, dict(momentum=0.9, centered=True)),
    ):
        optimizer, fresh, _ = trained(optimizer_class, **options)
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        check_optimizer(optimizer, fresh)
    for name, value, words in (
        # Kernels trust the shape: they would read what is not theirs.
        ('exp_avg', torch.zeros(3), r'exp_avg must be \(2, 3\), found \(3,\)'),
        ('exp_avg', torch.full((2, 3), math.nan), 'exp_avg is not finite'),
        ('exp_avg', 'text', "exp_avg must be .*, found 'text'"),
        ('lr', 'fast', "lr must be a number, found 'fast'"),
        ('lr', math.nan, 'lr must be a number, found nan'),
        ('betas', None, 'betas must be 2 of a number, found None'),
        ('betas', (0.9,), 'betas must be 2 of a number'),
    ):
        optimizer, fresh, weight = trained(torch.optim.AdamW)
        part = optimizer.state[weight] if name == 'exp_avg' else optimizer.param_groups[0]
        part[name] = value
        with pytest.raises(UserError, match=words):
            check_optimizer(optimizer, fresh)
    fresh = dict(lr=0.1, foreach=None, betas=(0.9, 0.99), params=[1], name='a')
    # Whole numbers are numbers, None and True are both answers, lists do for tuples.
    check_kinds('p', fresh, dict(lr=torch.tensor(1), foreach=True, betas=[0, 1], name='b'))
    with pytest.raises(UserError, match='p: name must be str, found None'):
        check_kinds('p', fresh, dict(lr=1, foreach=True, betas=[0, 1]))
