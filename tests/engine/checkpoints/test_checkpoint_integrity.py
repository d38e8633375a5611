"""Checkpoints that are whole or absent."""

import pytest
import torch

from vispropnet.engine.checkpoints.integrity import find_damage, remove_unfinished, sync_and_check
from vispropnet.engine.checkpoints.reading import read_checkpoint
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


def test_unfinished_files_are_removed_and_others_are_not(tmp_path):
    kept = [save(tmp_path / 'epoch_1.pth'), tmp_path / '.hidden.pth', tmp_path / '.a.tmp.json']
    for path in kept[1:]:
        path.write_text('')
    unfinished = tmp_path / '.epoch_2.x1y2.tmp.pth'
    unfinished.write_text('half')
    assert list(remove_unfinished(tmp_path)) == [unfinished]
    assert all(path.exists() for path in kept) and not unfinished.exists()


def test_a_file_that_does_not_read_back_is_reported(tmp_path):
    path = save(tmp_path / 'epoch_1.pth')
    sync_and_check(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match='does not read back: .* Is the disk full or failing'):
        sync_and_check(path)
