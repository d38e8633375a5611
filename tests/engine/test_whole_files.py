"""Checkpoints that are whole or absent."""

import os

import pytest
import torch

from vispropnet.engine.checkpoint import read_checkpoint
from vispropnet.engine.whole_files import (
    find_damage,
    find_resumable,
    remove_unfinished,
    sync_and_check,
)
from vispropnet.errors import UserError


def save(path, iterations=1, **more):
    content = dict(
        state_dict={'weight': torch.arange(1000.0)},
        optimizer={},
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        meta=dict(iter=iterations, epoch=0),
    )
    torch.save({**content, **more}, path)
    return path


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_in_a_weight_is_found(tmp_path):
    path = save(tmp_path / 'epoch_1.pth')
    assert find_damage(path) is None
    # The middle of the file is in the middle of its one large tensor.
    flip(path, path.stat().st_size // 2)
    assert 'checksum of its part epoch_1/data/0 is wrong' in find_damage(path)
    assert torch.load(path, weights_only=True)  # torch does not mind
    with pytest.raises(UserError, match=r'epoch_1\.pth is damaged: the checksum .* older one'):
        read_checkpoint(path)


def test_what_is_cut_short_is_found(tmp_path):
    path = save(tmp_path / 'epoch_1.pth')
    content = path.read_bytes()
    for length in (len(content) - 1, len(content) // 2, 10):
        path.write_bytes(content[:length])
        assert find_damage(path) is not None, length
    # No archive at all is for whoever reads it to tell: files of old torch are none.
    path.write_bytes(b'')
    assert find_damage(path) is None
    assert find_damage(tmp_path / 'none.pth') is not None


def test_any_flipped_byte_is_found_or_does_not_matter(tmp_path):
    """Every 37th byte of a file: an error of ours, or the same content."""
    path = save(tmp_path / 'epoch_1.pth')
    sound = path.read_bytes()
    wanted = read_checkpoint(path)
    outcomes = {'told': 0, 'same': 0}
    for position in range(0, len(sound), 37):
        path.write_bytes(sound)
        flip(path, position)
        try:
            found = read_checkpoint(path)
        except UserError:
            outcomes['told'] += 1
            continue
        outcomes['same'] += 1
        assert torch.equal(found.pop('state_dict')['weight'], wanted['state_dict']['weight'])
        assert found == {key: value for key, value in wanted.items() if key != 'state_dict'}
    assert outcomes['told'] > outcomes['same'] > 0


def test_the_newest_that_is_whole_is_gone_on_with(tmp_path):
    assert find_resumable(tmp_path) == (None, [])
    first, second = save(tmp_path / 'epoch_1.pth', 10), save(tmp_path / 'epoch_2.pth', 20)
    middle = save(tmp_path / 'interrupted.pth', 15)
    # Copying may change times; what counts is how far training was.
    os.utime(first, (2e9, 2e9))
    # Not for going on: no name of ours, and weights alone.
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
    assert 'training can go on from none of its checkpoints:\n  epoch_2.pth: the checksum' in text
    assert 'interrupted.pth: ' in text and 'remove them or choose another --work-dir' in text


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (dict(meta=dict(epoch=1)), 'does not say at which iteration'),
        (dict(meta=[1]), 'meta must be a dict, found [1]'),
        (None, 'it has no message_hub, so training cannot go on from it'),
    ],
)
def test_what_training_cannot_go_on_from_is_passed_over(tmp_path, content, words):
    old = save(tmp_path / 'epoch_1.pth')
    os.utime(old, (1, 1))
    path = tmp_path / 'epoch_2.pth'
    if content is None:
        torch.save(dict(state_dict={}, optimizer={}, meta=dict(iter=5)), path)
    else:
        save(path, **content)
    found, (reason,) = find_resumable(tmp_path)
    assert found == old and words in reason


def test_what_is_no_file_is_passed_over(tmp_path):
    old = save(tmp_path / 'epoch_1.pth')
    os.utime(old, (1, 1))
    (tmp_path / 'epoch_2.pth').mkdir()
    (tmp_path / 'epoch_3.pth').symlink_to(tmp_path / 'gone.pth')
    # Opened, it would wait for somebody to write.
    os.mkfifo(tmp_path / 'epoch_4.pth')
    found, reasons = find_resumable(tmp_path)
    assert found == old
    assert reasons == [f'epoch_{number}.pth: it is no regular file' for number in (2, 3, 4)]


def test_hostile_files_are_passed_over_unread(tmp_path):
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


def test_unfinished_files_are_removed_and_others_are_not(tmp_path):
    kept = [save(tmp_path / 'epoch_1.pth'), tmp_path / '.hidden.pth', tmp_path / '.a.tmp.json']
    for path in kept[1:]:
        path.write_text('')
    unfinished = tmp_path / '.epoch_2.x1y2.tmp.pth'
    unfinished.write_text('half')
    assert list(remove_unfinished(tmp_path)) == [unfinished]
    assert all(path.exists() for path in kept) and not unfinished.exists()


def test_a_file_that_does_not_read_back_is_told(tmp_path):
    path = save(tmp_path / 'epoch_1.pth')
    sync_and_check(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match='does not read back: .* Is the disk full or failing'):
        sync_and_check(path)
