import os
import pickle

import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from vispropnet.engine.checkpoints.reading import read_checkpoint, trained_classes
from vispropnet.errors import UserError


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def save(path, content):
    torch.save(content, path)
    return path


def test_reads_what_mmengine_saves(tmp_path):
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    content = dict(state_dict=nn.Linear(2, 3).state_dict(), meta=dict(epoch=3), message_hub=buffer)
    read = read_checkpoint(save(tmp_path / 'a.pth', content))
    assert read['meta'] == dict(epoch=3)
    assert read['message_hub'].mean() == 1.5


def test_refuses_files_that_run_code(tmp_path):
    target = tmp_path / 'made'
    path = save(tmp_path / 'a.pth', dict(state_dict={}, bomb=Hostile(str(target))))
    with pytest.raises(UserError, match=r'posix\.mkdir.*--trust-checkpoint'):
        read_checkpoint(path)
    assert not target.exists()
    read_checkpoint(path, trust=True)
    assert target.exists()


@pytest.mark.parametrize('damage', ['half', 'empty', 'text', 'pickle'])
def test_damaged_files(tmp_path, damage):
    path = save(tmp_path / 'a.pth', dict(state_dict=nn.Linear(2, 3).state_dict()))
    content = path.read_bytes()
    damaged = {
        'half': content[: len(content) // 2],
        'empty': b'',
        'text': b'<html>not found</html>',
        'pickle': pickle.dumps([1, 2, 3]),
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(UserError, match=r'checkpoint .*a\.pth') as caught:
        read_checkpoint(path)
    assert '\n' not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match='checkpoint not found: .*none.pth'):
        read_checkpoint(tmp_path / 'none.pth')


def test_unreachable_address_says_what_to_do(monkeypatch, tmp_path):
    def fail(url, target):
        raise OSError('no route to host')

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    with pytest.raises(UserError, match='no route to host.*load_from=FILE.*load_from=None'):
        read_checkpoint('https://example.org/a.pth')


def test_meta_must_be_a_dict(tmp_path):
    for meta, found in (([1], r'\[1\]'), ('x', "'x'"), (5, '5'), (torch.ones(2), 'tensor')):
        path = save(tmp_path / 'a.pth', dict(state_dict={}, meta=meta))
        with pytest.raises(UserError, match=rf'a\.pth: meta must be a dict, found {found}'):
            read_checkpoint(path)
    assert read_checkpoint(save(tmp_path / 'a.pth', dict(state_dict={}, meta=None)))


@pytest.mark.parametrize(
    ('meta', 'classes'),
    [
        (dict(dataset_meta=dict(classes=('a', 'b'))), ('a', 'b')),
        (dict(dataset_meta=dict(classes=['a'])), ('a',)),
        (dict(dataset_meta=dict(classes='ab')), None),
        (dict(dataset_meta=dict(classes=['a', 1])), None),
        (dict(dataset_meta=dict(classes=5)), None),
        (dict(dataset_meta=dict(classes=None)), None),
        (dict(dataset_meta=dict()), None),
        (dict(dataset_meta=[1]), None),
        (dict(dataset_meta=None), None),
        (dict(), None),
        (None, None),
    ],
)
def test_trained_classes(meta, classes):
    assert trained_classes(dict(state_dict={}, meta=meta)) == classes
    assert trained_classes({}) is None


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / 'pipe.pth')
    (tmp_path / 'zero.pth').symlink_to('/dev/zero')
    (tmp_path / 'folder.pth').mkdir()
    (tmp_path / 'empty.pth').touch()
    for name, words in (
        ('pipe', 'is no regular file'),
        ('zero', 'is no regular file'),
        ('folder', 'is a folder; expected a file'),
        ('empty', 'is empty'),
    ):
        with pytest.raises(UserError, match=rf'checkpoint .*{name}\.pth {words}'):
            read_checkpoint(tmp_path / f'{name}.pth')
    with pytest.raises(UserError, match='cannot be read: File name too long'):
        read_checkpoint(tmp_path / ('x' * 300))


@pytest.mark.parametrize('trust', [False, True])
@pytest.mark.parametrize(
    'content', [b'\x80', b'\x80\x02', b'e', b'h\x05.', b'\x80\x02.', b'garbage', b'\x00' * 40]
)
def test_noise_of_unpickling_is_no_reason(tmp_path, trust, content):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_checkpoint(path, trust=trust)
    assert str(caught.value) in {
        f'checkpoint {path} cannot be read: the file is damaged or no checkpoint.',
        f'checkpoint {path} cannot be read ({len(content)} bytes; truncated or damaged?); expected '
        'what torch.save wrote.',
    }
