import json
import zipfile

import pytest

from vispropnet.errors import UserError
from vispropnet.evaluation.result_file import (
    check_writable,
    iter_results,
    key_fault,
    read_results,
    write_results,
)

RLE = {'size': [3, 4], 'counts': '066'}
TRACKS = [
    {'video_id': 1, 'category_id': 7, 'score': 0.5, 'segmentations': [RLE, None]},
    {'video_id': 2, 'category_id': 9, 'score': 0.25, 'segmentations': [None, None, RLE]},
]


def test_bytes_of_the_file_and_of_the_archive(tmp_path):
    path = tmp_path / 'new' / 'out.json'
    write_results(path, iter(TRACKS))
    assert path.read_text() == (
        '[\n'
        '{"video_id":1,"category_id":7,"score":0.5,'
        '"segmentations":[{"size":[3,4],"counts":"066"},null]},\n'
        '{"video_id":2,"category_id":9,"score":0.25,'
        '"segmentations":[null,null,{"size":[3,4],"counts":"066"}]}\n'
        ']\n'
    )
    with zipfile.ZipFile(tmp_path / 'new' / 'out.zip') as archive:
        assert archive.namelist() == ['results.json']
        assert archive.read('results.json') == path.read_bytes()
        assert archive.testzip() is None
        info = archive.getinfo('results.json')
    assert info.date_time == (1980, 1, 1, 0, 0, 0)
    assert info.compress_type == zipfile.ZIP_DEFLATED
    assert sorted(file.name for file in path.parent.iterdir()) == ['out.json', 'out.zip']


def test_further_keys_stay_out_of_the_archive(tmp_path):
    write_results(tmp_path / 'out.json', [{**TRACKS[0], 'propagated': [False, True]}, TRACKS[1]])
    assert read_results(tmp_path / 'out.json')[0]['propagated'] == [False, True]
    with zipfile.ZipFile(tmp_path / 'out.zip') as archive:
        assert json.loads(archive.read('results.json')) == TRACKS


def test_equal_results_give_equal_bytes(tmp_path):
    for name in ('a.json', 'b.json'):
        write_results(tmp_path / name, TRACKS)
    assert (tmp_path / 'a.json').read_bytes() == (tmp_path / 'b.json').read_bytes()
    assert (tmp_path / 'a.zip').read_bytes() == (tmp_path / 'b.zip').read_bytes()


def test_reads_what_it_wrote_also_when_empty(tmp_path):
    write_results(tmp_path / 'out.json', TRACKS)
    assert read_results(tmp_path / 'out.json') == TRACKS
    write_results(tmp_path / 'none.json', [])
    assert json.loads((tmp_path / 'none.json').read_text()) == []
    assert read_results(tmp_path / 'none.json') == []


def test_a_track_that_is_no_json_leaves_the_old_files(tmp_path):
    path = tmp_path / 'out.json'
    write_results(path, TRACKS)
    before = path.read_bytes(), (tmp_path / 'out.zip').read_bytes()
    with pytest.raises(ValueError, match=r'track 1 \(video 2, score nan\)'):
        write_results(path, [TRACKS[0], {**TRACKS[1], 'score': float('nan')}])
    assert (path.read_bytes(), (tmp_path / 'out.zip').read_bytes()) == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ['out.json', 'out.zip']


def test_unusable_names(tmp_path):
    for name in ('out.zip', 'out', ''):
        for use in (check_writable, lambda path: write_results(path, [])):
            with pytest.raises(UserError, match=r'must be named \.json and be no folder'):
                use(tmp_path / name)
    (tmp_path / 'a.json').mkdir()
    with pytest.raises(UserError, match=r'must be named \.json and be no folder'):
        check_writable(tmp_path / 'a.json')
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot make the folder'):
        check_writable(tmp_path / 'file' / 'out.json')
    check_writable(tmp_path / 'made' / 'out.json')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.json', 'file', 'made']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'a': 1}, ' must hold a list of tracks, not an object.'),
        ([TRACKS[0], 3], ': entry 1 must be an object, not 3.'),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, content, message):
    path = tmp_path / 'odd.json'
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        read_results(path)
    assert str(caught.value) == f'result file {path}{message}'


def test_reads_the_archive_as_the_file(tmp_path, monkeypatch):
    write_results(tmp_path / 'out.json', TRACKS)
    for chunk in (1, 7, 1 << 22):
        monkeypatch.setattr('vispropnet.fileio._CHUNK_CHARACTERS', chunk)
        for name in ('out.json', 'out.zip'):
            assert read_results(tmp_path / name) == TRACKS
            assert list(iter_results(tmp_path / name)) == TRACKS
    write_results(tmp_path / 'none.json', [])
    assert read_results(tmp_path / 'none.zip') == list(iter_results(tmp_path / 'none.zip')) == []


def test_entries_come_one_by_one_and_unchecked(tmp_path, monkeypatch):
    monkeypatch.setattr('vispropnet.fileio._CHUNK_CHARACTERS', 32)
    path = tmp_path / 'odd.json'
    path.write_text(json.dumps([TRACKS[0], 3, {'video_id': None}, TRACKS[1]])[:-40])
    entries = iter_results(str(path))
    assert [next(entries), next(entries), next(entries)] == [TRACKS[0], 3, {'video_id': None}]
    with pytest.raises(UserError, match=f'^result file {path} is not valid JSON'):
        next(entries)
    # The first fault counts.
    with pytest.raises(UserError, match=f'^result file {path}: entry 1 must be an object, not 3'):
        read_results(path)


@pytest.mark.parametrize('name', ['out.json', 'out.zip'])
def test_a_file_that_was_cut_is_named(name, tmp_path):
    write_results(tmp_path / 'out.json', 50 * TRACKS)
    path = tmp_path / name
    whole = path.read_bytes()
    for size in range(0, len(whole) - 2, 97):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError) as caught:
            read_results(path)
        assert str(caught.value).startswith(f'result file {path} is ')
    path.unlink()
    with pytest.raises(UserError, match=f'^result file not found: {path}'):
        iter_results(path).__next__()


@pytest.mark.parametrize(
    ('change', 'fault'),
    [
        ({}, None),
        ({'score': 1}, None),
        ({'segmentations': []}, None),
        ({'propagated': 3}, None),
        ({'video_id': True}, ": 'video_id' must be an integer, not True."),
        ({'video_id': 1.0}, ": 'video_id' must be an integer, not 1.0."),
        ({'category_id': '7'}, ": 'category_id' must be an integer, not a string."),
        ({'score': False}, ": 'score' must be a number, not False."),
        ({'score': None}, ": 'score' must be a number, not null."),
        (
            {'segmentations': None},
            ": 'segmentations' must be a list with one RLE or null per frame, not null.",
        ),
    ],
)
def test_faults_of_keys(change, fault):
    assert key_fault({**TRACKS[0], **change}) == fault


@pytest.mark.parametrize(
    ('key', 'wanted'),
    [
        ('video_id', 'an integer'),
        ('category_id', 'an integer'),
        ('score', 'a number'),
        ('segmentations', 'a list with one RLE or null per frame'),
    ],
)
def test_a_key_that_is_missing(key, wanted):
    entry = {name: value for name, value in TRACKS[0].items() if name != key}
    assert key_fault(entry) == f" has no '{key}' ({wanted})."


def test_what_is_no_entry():
    assert key_fault([]) == ' must be an object, not a list.'
    assert key_fault(None) == ' must be an object, not null.'
