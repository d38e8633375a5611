import os
from unittest.mock import Mock

import pytest
import torch
from mmengine.logging import HistoryBuffer

from vispropnet.engine.checkpoints import reading
from vispropnet.engine.checkpoints.reading import find_damage, read_checkpoint, sync_and_check
from vispropnet.errors import UserError


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def save(path, **content):
    torch.save(content or dict(state_dict={'weight': torch.arange(1000.0)}), path)
    return path


def flip(path):
    """Flips a bit in the middle of a file, which is in the middle of its one large tensor."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_reads_what_mmengine_saves_and_refuses_files_that_run_code(tmp_path):
    buffer, target = HistoryBuffer([1.0, 2.0], [1, 1]), tmp_path / 'made'
    path = save(tmp_path / 'a.pth', state_dict={}, meta=dict(epoch=3), message_hub=buffer)
    read = read_checkpoint(path)
    assert read['meta'] == dict(epoch=3) and read['message_hub'].mean() == 1.5
    assert read_checkpoint(save(path, state_dict={}, meta=None))['meta'] is None
    save(path, state_dict={}, bomb=Hostile(target))
    with pytest.raises(UserError, match=r'posix\.mkdir.*--trust-checkpoint'):
        read_checkpoint(path)
    assert not target.exists()
    read_checkpoint(path, trust=True)
    assert target.exists()


def test_what_was_saved_on_a_gpu_opens_without_one(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, 'location_tag', lambda storage: 'cuda:7')
        path = save(tmp_path / 'a.pth')
    for mmap in (False, True):
        read = read_checkpoint(path, mmap=mmap)['state_dict']['weight']
        assert read.device.type == 'cpu' and read[999] == 999


def test_a_flipped_bit_in_a_weight_is_found_and_what_is_cut_short(tmp_path):
    path = save(tmp_path / 'epoch_1.pth')
    assert find_damage(path) is None
    sync_and_check(path)
    content = path.read_bytes()
    flip(path)
    assert 'checksum of its part epoch_1/data/0 is wrong' in find_damage(path)
    assert torch.load(path, weights_only=True)  # torch does not mind
    with pytest.raises(UserError, match=r'epoch_1\.pth is damaged: the checksum .* older one'):
        read_checkpoint(path)
    for length in (len(content) - 1, len(content) // 2, 10):
        path.write_bytes(content[:length])
        assert find_damage(path) is not None, length
        with pytest.raises(UserError, match='does not read back: .* Is the disk full or failing'):
            sync_and_check(path)
    # No archive at all is for whoever reads it to tell: files of old torch are none.
    path.write_bytes(b'')
    assert find_damage(path) is None and find_damage(tmp_path / 'none.pth') is not None


def test_meta_must_be_a_dict_and_may_name_classes(tmp_path):
    for meta, found in (([1], r'\[1\]'), ('x', "'x'"), (5, '5'), (torch.ones(2), 'tensor')):
        path = save(tmp_path / 'a.pth', state_dict={}, meta=meta)
        with pytest.raises(UserError, match=rf'a\.pth: meta must be a dict, found {found}'):
            read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match=r'a\.pth: expected a dict of tensors, found a list\.'):
        read_checkpoint(path)
    for meta, classes in (
        (dict(dataset_meta=dict(classes=('a', 'b'))), ('a', 'b')),
        (dict(dataset_meta=dict(classes=['a'])), ('a',)),
        (dict(dataset_meta=dict(classes='ab')), None),
        (dict(dataset_meta=dict(classes=['a', 1])), None),
        (dict(dataset_meta=dict()), None),
        (dict(dataset_meta=[1]), None),
        (dict(dataset_meta=dict(CLASSES=['a', 'a'])), ('a', 'a (2)')),  # mmdetection 3.0.0rc
        (dict(CLASSES=('a', 'b')), ('a', 'b')),  # mmdetection 2
        (None, None),
    ):
        assert reading.trained_classes(dict(state_dict={}, meta=meta)) == classes
    assert reading.trained_classes({}) is None


def test_what_cannot_be_opened_or_downloaded_is_named(monkeypatch, tmp_path):
    fail = Mock(side_effect=OSError('no route to host'))
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    with pytest.raises(UserError, match='no route to host.*load_from=FILE.*load_from=None'):
        read_checkpoint('https://example.org/a.pth')
    os.mkfifo(tmp_path / 'pipe.pth')
    (tmp_path / 'zero.pth').symlink_to('/dev/zero')
    (tmp_path / 'folder.pth').mkdir()
    (tmp_path / 'empty.pth').touch()
    for name, words in (
        ('pipe.pth', r'checkpoint .*pipe\.pth is no regular file'),
        ('zero.pth', 'is no regular file'),
        ('folder.pth', 'is a folder; expected a file'),
        ('empty.pth', 'is empty'),
        ('none.pth', r'checkpoint not found: .*none\.pth'),
        ('x' * 300, 'cannot be read: File name too long'),
    ):
        with pytest.raises(UserError, match=words):
            read_checkpoint(tmp_path / name)


@pytest.mark.parametrize('trust', [False, True])
def test_noise_of_unpickling_is_no_reason(tmp_path, trust):
    path, short = tmp_path / 'a.pth', (b'\x80', b'\x80\x02', b'e', b'h\x05.', b'\x80\x02.')
    for content in (*short, b'<html>not found</html>', b'\x00' * 40):
        path.write_bytes(content)
        size = rf'\({len(content)} bytes; truncated or damaged\?\)'
        words = f': the file is damaged or no checkpoint| {size}; expected what torch.save wrote'
        with pytest.raises(UserError, match=rf'^checkpoint {path} cannot be read({words})\.$'):
            read_checkpoint(path, trust=trust)
