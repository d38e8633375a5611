"""Reading JSON with clear errors, and files that are written whole or not at all."""

import json
import os
import stat
import threading

import pytest

from vispropnet.errors import UserError
from vispropnet.fileio import atomic_path, read_json, write_json


def message_of(path, **arguments):
    with pytest.raises(UserError) as caught:
        read_json(path, **arguments)
    return str(caught.value)


# --- reading --------------------------------------------------------------------------------------


def test_what_was_written_is_read(tmp_path):
    content = {'videos': [1, 2.5, None, 'ü'], 'deep': {'a': []}}
    write_json(tmp_path / 'a.json', content)
    assert read_json(tmp_path / 'a.json') == content
    assert read_json(str(tmp_path / 'a.json')) == content


def test_a_missing_file_is_named_with_the_hint(tmp_path):
    path = tmp_path / 'a.json'
    assert message_of(path) == f'file not found: {path}.'
    text = message_of(path, what='annotation file', hint='Make it with tools/x.py.')
    assert text == f'annotation file not found: {path}. Make it with tools/x.py.'


def test_an_empty_file_is_called_empty(tmp_path):
    path = tmp_path / 'a.json'
    path.touch()
    text = message_of(path, what='result file')
    assert text.startswith(f'result file {path} is empty: ')
    assert 'of a file of 0 bytes' in text


def test_a_truncated_file_says_where_it_ends(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('{"videos": [1,\n2, 3')
    text = message_of(path)
    assert f'{path} is not valid JSON (truncated or damaged?)' in text
    assert 'line 2, column 5, character 19 of a file of 19 bytes' in text


@pytest.mark.parametrize('content', [b'\x80\x02}q\x00.', b'PK\x03\x04\xff', b'\xff\xd8\xff\xe0'])
def test_a_binary_file_is_called_so(tmp_path, content):
    path = tmp_path / 'a.json'
    path.write_bytes(content)
    assert f'{path} is not a text file in UTF-8' in message_of(path)


def test_a_folder_cannot_be_read(tmp_path):
    assert f'{tmp_path} cannot be read: Is a directory.' in message_of(tmp_path)


def test_a_path_through_a_file_cannot_be_read(tmp_path):
    (tmp_path / 'a').touch()
    assert 'cannot be read: Not a directory.' in message_of(tmp_path / 'a' / 'b.json')


# --- writing --------------------------------------------------------------------------------------


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / 'new' / 'folders' / 'a.txt'
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == '.txt'
        temporary.write_text('new')
        assert not path.exists()
    assert path.read_text() == 'new'
    assert os.listdir(path.parent) == ['a.txt']


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text('half')
        raise error
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.txt']


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a.json'
    write_json(path, [1])
    with pytest.raises(TypeError):
        write_json(path, [2, {3}])
    assert read_json(path) == [1]
    assert os.listdir(tmp_path) == ['a.json']


def test_a_writer_may_remove_the_file_that_it_was_given(tmp_path):
    with atomic_path(tmp_path / 'a.txt') as temporary:
        temporary.unlink()
        temporary.write_text('anew')
    assert (tmp_path / 'a.txt').read_text() == 'anew'


@pytest.mark.parametrize(('mask', 'mode'), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_json(tmp_path / 'a.json', [])
        after = os.umask(mask)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'a.json').stat().st_mode) == mode
    assert after == mask


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path):
    path = tmp_path / 'a.json'
    contents = [[number] * 20_000 for number in range(8)]
    threads = [threading.Thread(target=write_json, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_json(path) in contents
    assert os.listdir(tmp_path) == ['a.json']


def test_a_folder_is_not_a_file_to_write(tmp_path):
    with pytest.raises(UserError, match='it is a folder'), atomic_path(tmp_path):
        raise AssertionError('not reached')


def test_a_parent_that_is_a_file_is_an_error_of_the_user(tmp_path):
    (tmp_path / 'a').touch()
    with (
        pytest.raises(UserError, match='cannot write .*b.json: '),
        atomic_path(tmp_path / 'a' / 'b.json'),
    ):
        raise AssertionError('not reached')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_folder_without_permission_is_an_error_of_the_user(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match='Permission denied'), atomic_path(tmp_path / 'a.json'):
        raise AssertionError('not reached')


def test_of_a_link_the_target_is_replaced(tmp_path):
    (tmp_path / 'far').mkdir()
    target, link = tmp_path / 'far' / 'a.json', tmp_path / 'link.json'
    link.symlink_to(target)  # dangling at first
    write_json(link, [1])
    write_json(link, [2])
    assert link.is_symlink()
    assert read_json(target) == [2]
    assert sorted(os.listdir(tmp_path)) == ['far', 'link.json']


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    write_json(pipe, [1, 2])
    reader.join(timeout=30)
    assert [json.loads(text) for text in received] == [[1, 2]]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_standard_output_can_be_written_to(run_python):
    code = 'from vispropnet.fileio import write_json; write_json("/dev/stdout", [1])'
    assert run_python('-c', code).stdout == '[1]'
