import functools
import itertools
import json
import os
import random
import stat
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from vispropnet.errors import UserError
from vispropnet.fileio import (
    NotAListError,
    atomic_folder,
    atomic_path,
    iter_json_list,
    read_json,
    write_json,
)

CHUNK = 'vispropnet.fileio._CHUNK_CHARACTERS'
CHUNKS = (1, 2, 3, 7, 16, 100, 1 << 22)


def message_of(path, read=read_json, **arguments):
    with pytest.raises(UserError) as caught:
        read(path, **arguments)
    return str(caught.value)


def entries_of(path, **arguments):
    return list(iter_json_list(path, **arguments))


list_message_of = functools.partial(message_of, read=entries_of)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'a.json'


def test_a_file_that_is_whole_missing_or_truncated(path):
    assert message_of(path) == f'file not found: {path}.'
    text = message_of(path, what='annotation file', hint='Make it with tools/x.py.')
    assert text == f'annotation file not found: {path}. Make it with tools/x.py.'
    content = {'videos': [1, 2.5, None, 'ü'], 'deep': {'a': []}}
    write_json(path, content)
    assert read_json(path) == read_json(str(path)) == content
    path.write_text('{"videos": [1,\n2, 3')
    assert message_of(path, what='result file') == (
        f"result file {path} is not valid JSON (truncated or damaged?): Expecting ',' delimiter at "
        'line 2, column 5, character 19 of a file of 19 bytes.'
    )
    path.write_text('')
    text = message_of(path, what='result file')
    assert text.startswith(f'result file {path} is empty: Expecting value at line 1')
    assert text.endswith('of a file of 0 bytes.')


@pytest.mark.parametrize('read', [read_json, entries_of])
def test_files_that_cannot_be_opened(read, path):
    folder, kind = path.parent, 'cannot be read:'
    (folder / 'd.zip').mkdir()
    (folder / 'file').touch()
    assert message_of(path, read, what='result file') == f'result file not found: {path}.'
    names = {'a.zip': 'not found', 'file/b.json': f'{kind} Not a directory.'}
    names |= dict.fromkeys(['', 'd.zip'], f'{kind} Is a directory.')
    for name, words in names.items():
        message = message_of(folder / name, read)
        assert f'{folder / name}' in message and words in message


def random_value(rng, depth=0):
    kind = rng.random()
    if depth < 4 and kind < 0.25:
        return [random_value(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    if depth < 4 and kind < 0.5:
        keys = ['a', 'é', '"', '\\', '', '😀', 'segmentations'][: rng.randint(0, 7)]
        return {key: random_value(rng, depth + 1) for key in keys}
    return rng.choice(
        [
            *(None, True, False, 0, -0.0, -12, 1.5e-7, 1e300, -1.25e20, 12345678901234567890, 0.1),
            *('', 'a"\\\n\t\u2028é😀\ud800\x7f', '\\', '\\u0041', ']', 'x' * rng.randint(0, 60)),
            *(float('inf'), -float('inf'), rng.random(), rng.randint(-(10**9), 10**9)),
        ]
    )


@pytest.fixture(params=CHUNKS)
def chunk(request, monkeypatch):
    monkeypatch.setattr(CHUNK, request.param)


@pytest.mark.parametrize('seed', range(10))
def test_entries_are_those_of_the_whole_file(seed, path, monkeypatch):
    rng = random.Random(seed)
    for _ in range(4):
        content = [random_value(rng) for _ in range(rng.randint(0, 6))]
        loose = json.dumps(content, separators=(' \t,\n', '\r\n: '))
        texts = [json.dumps(content, separators=(',', ':')), f'\n\r\t {loose}{30 * " "}\n']
        plain = json.dumps(content, ensure_ascii=False, indent=1)
        # Half a character is none in UTF-8.
        for text in [*texts, plain] if '\ud800' not in plain else texts:
            path.write_text(text, encoding='utf-8')
            for characters in CHUNKS:
                monkeypatch.setattr(CHUNK, characters)
                # Also -0.0 and the kinds of numbers.
                assert repr(entries_of(path)) == repr(content)


def test_numbers_are_not_cut_by_the_window(path, monkeypatch):
    numbers = '0 -0 -1 10 1.5 -0.25 100.125 1e5 2E-7 1.5e+30 -1e-300 12345678901234567890123 1e999'
    for number, before in itertools.product(numbers.split(), range(20)):
        for after in (', 7]', ']'):
            path.write_text(text := f'[{before * " "}{number}{after}')
            for characters in range(1, len(text) + 1):
                monkeypatch.setattr(CHUNK, characters)
                assert repr(entries_of(path)) == repr(json.loads(text))


SAMPLE = r"""
 [ {"video_id": 12, "score": -0.5e-3, "n": [NaN, null, true, -Infinity, {}]},
  "é😀 \u00e9\ud83d\ude00\"\\ ]", -12.25E+2 , [[1, 2.5], []], false
 ]
"""


def compare(path, content):
    """Reads as Python does, or fails with its error; gives True for an error."""
    path.write_bytes(content)
    try:
        whole = json.loads(content.decode())
    except UnicodeDecodeError as error:
        wanted = f'is not a text file in UTF-8: {error.reason}.'
    except json.JSONDecodeError as error:
        # Python 3.13 names the comma of '[1, ]', as long as it sees the whole list.
        if error.msg.startswith('Illegal trailing comma'):
            return list_message_of(path) != ''
        state = 'is not valid JSON (truncated or damaged?)' if content else 'is empty'
        place = f'at character {error.pos} of a file of {len(content)} bytes.'
        wanted = f'{state}: {error.msg.removesuffix(" at")} {place}'
    else:
        assert repr(entries_of(path)) == repr(whole)
        return False
    assert list_message_of(path, what='result file') == f'result file {path} {wanted}'
    return True


def test_a_file_that_is_cut_goes_on_or_is_none_is_an_error_that_says_where(chunk, path):
    whole = SAMPLE.encode()
    assert not compare(path, whole)
    for content in [whole[:size] for size in range(whole.rindex(b']') + 1)]:
        assert compare(path, content)
    for tail in ('x', ']', ',', '[]', ' \n\n 1', '{}', '\0'):
        assert all(compare(path, f'{text}{tail}'.encode()) for text in ('[]', '[1, {"a": "b"}]'))
    for text in ('', ' \n ', '<html>', 'video_id,score', ']', ',', ':', '\0\0'):
        assert compare(path, text.encode())


@pytest.mark.parametrize('seed', range(5))
def test_damage_anywhere_is_found_where_the_whole_file_has_it(seed, path, monkeypatch):
    rng, found = random.Random(seed), 0
    for _ in range(200):
        at = rng.randrange(SAMPLE.index('[') + 1, len(SAMPLE))
        sign = rng.choice('[]{},:"\\ 1e.-tnNI\n\x01')
        text = SAMPLE[:at] + sign + SAMPLE[at + rng.randint(0, 1) :]
        monkeypatch.setattr(CHUNK, rng.choice(CHUNKS))
        found += compare(path, text.encode())
    assert found > 50
    # Entries before the damage are given, and the rest is not read.
    path.write_text('[{"a": 1}, [2], 3' + 100 * ' ' + ', oh]')
    monkeypatch.setattr(CHUNK, 4)
    entries = iter_json_list(path)
    assert [next(entries) for _ in range(3)] == [{'a': 1}, [2], 3]
    with pytest.raises(UserError, match='Expecting value at character 119 of a file of 122 bytes'):
        next(entries)


def test_what_is_no_list(chunk, path):
    kinds = {'{"a": []}': 'an object', ' "[]"': 'a string', '-1.5': 'a number', '\n7': 'a number'}
    for text, kind in {**kinds, 'null': 'null', 'true': 'true', 'false': 'false'}.items():
        path.write_text(text)
        with pytest.raises(NotAListError) as caught:
            entries_of(path, what='result file', entries='tracks')
        assert str(caught.value) == f'result file {path} must hold a list of tracks, not {kind}.'


def test_a_list_that_is_not_utf_8_or_no_json_that_python_can_hold(chunk, path):
    contents = ['["é"]'.encode('latin-1'), '[1]'.encode('utf-16'), b'[1, 2, "\xff"]']
    contents += [b'["a", "\xc3', b'\xff\xd8\xff\xe0', b'PK\x03\x04\xff']
    contents += [b'[' + b'1,' * 10_000 + b'\x80]']
    # Too deep, or too long a number.
    others = b'[' * 100_000, b'[' + b'{"a":' * 100_000, b'[0,' + b'9' * 5000 + b']'
    for content in (*contents, *others):
        path.write_bytes(content)
        words = 'is not valid JSON' if content in others else 'is not a text file in UTF-8'
        for read in (read_json, entries_of):
            assert f'{path} {words}' in message_of(path, read)


def test_a_byte_order_mark(path):
    path.write_bytes('["é"]'.encode('utf-8-sig'))
    assert read_json(path) == entries_of(path) == ['é']
    for encoding in ('utf-16-le', 'utf-16-be'):
        path.write_bytes('\ufeff["é"]'.encode(encoding))
        assert 'it is UTF-16, save it as UTF-8.' in message_of(path)


def write_archive(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def test_the_json_file_in_an_archive_is_read(chunk, tmp_path):
    path = tmp_path / 'a.ZIP'
    write_archive(path, {'read.me': '!', 'sub/any.json': SAMPLE, '__MACOSX/sub/._any.json': '\0'})
    assert repr(entries_of(path)) == repr(json.loads(SAMPLE))


def test_archives_with_something_else_in_them(tmp_path):
    path, damaged = tmp_path / 'a.zip', 'is not valid JSON (truncated or damaged?): Expecting'
    for files, words in (
        ({'a.json': '[]', 'b.json': '[]'}, 'must hold one JSON file, found 2.'),
        ({'a.txt': '[]'}, 'must hold one JSON file, found 0.'),
        # Not: of a file of (the archive's) bytes.
        ({'a.json': f'[1, 2{1000 * " "}'}, f"{damaged} ',' delimiter at character 1005."),
        ({'a.json': '{}'}, 'must hold a list of entries, not an object.'),
        ({'a.json': b'["\xff"]'}, 'is not a text file in UTF-8: invalid start byte.'),
        ({'a.json': ''}, f'{damaged} value at character 0.'),
    ):
        write_archive(path, files)
        assert list_message_of(path, what='result file') == f'result file {path} {words}'
    write_archive(path, {'a.json': '[]'})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        data[data.index(signature) + offset] |= 1  # the flag of an encrypted file
    path.write_bytes(data)
    assert 'is encrypted' in list_message_of(path)


@pytest.mark.parametrize('compression', ['STORED', 'DEFLATED', 'BZIP2', 'LZMA'])
def test_broken_archives(compression, tmp_path):
    compression = getattr(zipfile, f'ZIP_{compression}')
    rng, path = random.Random(compression), tmp_path / 'a.zip'
    content = [{'score': rng.random(), 'counts': 20 * 'ab'} for _ in range(20)]
    write_archive(path, {'a.json': json.dumps(content)}, compression)
    assert entries_of(path) == content
    whole = path.read_bytes()
    for size in {*range(0, len(whole), 20), len(whole) - 1}:
        path.write_bytes(whole[:size])
        assert f'{path} is no sound archive: ' in list_message_of(path)
    errors = 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            # Many flags and dates do not matter.
            assert entries_of(path) == content
        except UserError as error:
            errors += 1
            assert str(path) in str(error)
    assert errors > 50


@pytest.mark.parametrize('suffix', ['.json', '.zip'])
def test_a_large_file_is_never_held_whole(suffix, tmp_path):
    path, unpacked = tmp_path / f'a{suffix}', tmp_path / 'a.json'
    entry = json.dumps({'score': 0.5, 'segmentations': [{'counts': 'k' * 2000}] * 100})
    count = 30_000_000 // len(entry)
    unpacked.write_text('[' + ',\n'.join([entry] * count) + ']')
    assert unpacked.stat().st_size > 29_000_000
    if suffix == '.zip':
        write_archive(path, {'a.json': unpacked.read_text()})
    tracemalloc.start()
    seen = sum(len(one['segmentations']) for one in iter_json_list(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A few windows of text, whatever the size.
    assert seen == 100 * count and peak < 15_000_000


def test_writers_at_the_same_time_leave_one_whole_file_with_the_mode_of_the_umask(path):
    contents = [[number] * 20_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_json, [path] * 8, contents))
    assert read_json(path) in contents and os.listdir(path.parent) == ['a.json']
    for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(mask)
        write_json(path, [])
        assert os.umask(before) == mask and stat.S_IMODE(path.stat().st_mode) == mode


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / 'new' / 'folders' / 'a.txt'
    with atomic_path(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (path.parent, '.txt')
        temporary.write_text('new')
        assert not path.exists()
    assert path.read_text() == 'new' and os.listdir(path.parent) == ['a.txt']
    # A writer may remove the file that it was given.
    with atomic_path(path) as temporary:
        temporary.unlink()
        temporary.write_text('anew')
    assert path.read_text() == 'anew'


def fails(path, error):
    with atomic_path(path) as temporary:
        temporary.write_text('half')
        raise error


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(path):
    path.write_text('old')
    blocks = [(fails, one, one) for one in (ValueError, KeyboardInterrupt)]
    for write, value, error in (*blocks, (write_json, [2, {3}], TypeError)):  # sets are no JSON
        with pytest.raises(error):
            write(path, value)
        assert path.read_text() == 'old' and os.listdir(path.parent) == ['a.json']


def test_a_path_that_can_be_no_file(tmp_path):
    (tmp_path / 'file').touch()
    for name, words in (('', 'it is a folder'), ('file/b.json', '(File exists|Not a directory)')):
        with pytest.raises(UserError, match=f'cannot write {tmp_path / name}: {words}'):
            write_json(tmp_path / name, [])
    if os.geteuid():  # root may write everywhere
        tmp_path.chmod(0o500)
        with pytest.raises(UserError, match='Permission denied'):
            write_json(tmp_path / 'a.json', [])


def test_pipes_and_targets_of_links_are_written_to(tmp_path, run_python):
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(pipe.read_text)
        write_json(pipe, [1, 2])
    assert json.loads(received.result()) == [1, 2] and stat.S_ISFIFO(pipe.stat().st_mode)
    code = 'from vispropnet.fileio import write_json; write_json("/dev/stdout", [1])'
    assert run_python('-c', code).stdout == '[1]'
    (tmp_path / 'far').mkdir()
    target, link = tmp_path / 'far' / 'a.json', tmp_path / 'link.json'
    link.symlink_to(target)  # dangling at first
    write_json(link, [1])
    write_json(link, [2])
    assert link.is_symlink() and read_json(target) == [2]
    assert sorted(os.listdir(tmp_path)) == ['far', 'link.json', 'pipe']


def test_a_folder_appears_when_the_block_ends_and_an_older_one_stays_if_it_raises(tmp_path):
    out = tmp_path / 'deep' / 'out'
    with atomic_folder(out) as made:
        (made / 'a').write_text('1')
        assert not out.exists() and made.stat().st_dev == out.parent.stat().st_dev
    assert (out / 'a').read_text() == '1'
    with pytest.raises(ZeroDivisionError), atomic_folder(out, entries=('a',), force=True) as made:
        (made / 'a').write_text('2')
        raise ZeroDivisionError
    assert (out / 'a').read_text() == '1'
    with atomic_folder(out, entries=('a', 'b'), force=True) as made:
        (made / 'b').write_text('3')
    assert [path.name for path in out.iterdir()] == ['b']
    assert [path.name for path in out.parent.iterdir()] == ['out']


@pytest.mark.parametrize(
    ('path', 'options', 'words'),
    [
        ('file', {}, 'is a file; expected a folder'),
        ('file/out', {}, 'cannot write'),
        ('full', {}, 'exists and is not empty; choose another folder or give --force'),
        ('full', {'force': True, 'what': 'thing'}, "holds 'a', which is no part of a thing"),
    ],
)
def test_a_folder_that_is_taken(tmp_path, path, options, words):
    (tmp_path / 'file').touch()
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'a').touch()
    with pytest.raises(UserError, match=words), atomic_folder(tmp_path / path, **options):
        pytest.fail('the block was entered')
    assert (tmp_path / 'full' / 'a').exists()
    (tmp_path / 'full' / 'a').unlink()
    with atomic_folder(tmp_path / 'full') as made:
        (made / 'b').touch()
    assert (tmp_path / 'full' / 'b').exists()
