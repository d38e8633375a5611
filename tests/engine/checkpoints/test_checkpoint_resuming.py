"""The newest checkpoint of a work dir that training can be resumed from."""

import os

import pytest
import torch

from tests.engine.checkpoints.test_checkpoint_integrity import flip, save
from vispropnet.engine.checkpoints.resuming import find_resumable
from vispropnet.errors import UserError


def test_the_newest_that_is_whole_is_chosen(tmp_path):
    assert find_resumable(tmp_path) == (None, [])
    first, second = save(tmp_path / 'epoch_1.pth', 10), save(tmp_path / 'epoch_2.pth', 20)
    middle = save(tmp_path / 'interrupted.pth', 15)
    # Copying may change times; what counts is how far training was.
    os.utime(first, (2e9, 2e9))
    # Not to resume from: no name of ours, and weights alone.
    save(tmp_path / 'best_ytvis_mAP_epoch_9.pth', 90)
    assert find_resumable(tmp_path) == (second, [])
    flip(second, second.stat().st_size // 2)
    found, reasons = find_resumable(tmp_path)
    assert found == middle and len(reasons) == 1
    assert reasons[0].startswith('epoch_2.pth: the checksum of its part')
    middle.write_bytes(b'')
    found, reasons = find_resumable(tmp_path)
    assert found == first and reasons[0].startswith('epoch_2.pth')
    # To begin anew silently would be to throw away what can perhaps be mended.
    first.unlink()
    with pytest.raises(UserError) as caught:
        find_resumable(tmp_path)
    text = str(caught.value)
    assert (
        'training can be resumed from none of its checkpoints:\n  epoch_2.pth: the checksum' in text
    )
    assert 'interrupted.pth: ' in text and 'remove them or choose another --work-dir' in text


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (dict(meta=dict(epoch=1)), 'does not say at which iteration'),
        (dict(meta=[1]), 'meta must be a dict, found [1]'),
        (None, 'it has no message_hub, so training cannot be resumed from it'),
    ],
)
def test_files_that_training_cannot_be_resumed_from_are_skipped(tmp_path, content, words):
    old = save(tmp_path / 'epoch_1.pth')
    os.utime(old, (1, 1))
    path = tmp_path / 'epoch_2.pth'
    if content is None:
        torch.save(dict(state_dict={}, optimizer={}, meta=dict(iter=5)), path)
    else:
        save(path, **content)
    found, (reason,) = find_resumable(tmp_path)
    assert found == old and words in reason


def test_what_is_no_file_is_skipped(tmp_path):
    old = save(tmp_path / 'epoch_1.pth')
    os.utime(old, (1, 1))
    (tmp_path / 'epoch_2.pth').mkdir()
    (tmp_path / 'epoch_3.pth').symlink_to(tmp_path / 'gone.pth')
    # Opened, it would wait for somebody to write.
    os.mkfifo(tmp_path / 'epoch_4.pth')
    found, reasons = find_resumable(tmp_path)
    assert found == old
    assert reasons == [f'epoch_{number}.pth: it is no regular file' for number in (2, 3, 4)]


def test_hostile_files_are_skipped_unread(tmp_path):
    target = tmp_path / 'made'

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(target),)

    save(tmp_path / 'epoch_2.pth', bomb=Hostile())
    with pytest.raises(UserError, match=r'posix\.mkdir'):
        find_resumable(tmp_path)
    assert not target.exists()
    assert find_resumable(tmp_path, trust=True) == (tmp_path / 'epoch_2.pth', [])
    assert target.exists()
