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
    rle = '{"size":[3,4],"counts":"066"}'
    assert path.read_text() == (
        f'[\n{{"video_id":1,"category_id":7,"score":0.5,"segmentations":[{rle},null]}},\n'
        f'{{"video_id":2,"category_id":9,"score":0.25,"segmentations":[null,null,{rle}]}}\n]\n'
    )
    with zipfile.ZipFile(path.with_suffix('.zip')) as archive:
        assert archive.namelist() == ['results.json']
        assert archive.read('results.json') == path.read_bytes()
        assert archive.testzip() is None
        info = archive.getinfo('results.json')
    assert (info.compress_type, *info.date_time) == (zipfile.ZIP_DEFLATED, 1980, 1, 1, 0, 0, 0)
    assert sorted(file.name for file in path.parent.iterdir()) == ['out.json', 'out.zip']
    # Equal results give equal bytes.
    write_results(tmp_path / 'again.json', TRACKS)
    assert (tmp_path / 'again.zip').read_bytes() == path.with_suffix('.zip').read_bytes()


def test_reads_what_it_wrote_last(tmp_path, monkeypatch):
    # Further keys stay out of the archive.
    more = [{**TRACKS[0], 'propagated': [False, True]}, TRACKS[1]]
    write_results(tmp_path / 'out.json', more)
    assert [read_results(tmp_path / name) for name in ('out.json', 'out.zip')] == [more, TRACKS]
    for tracks in (TRACKS, []):
        write_results(tmp_path / 'out.json', tracks)
        assert json.loads((tmp_path / 'out.json').read_text()) == tracks
        for chunk in (1, 7, 1 << 22):
            monkeypatch.setattr('vispropnet.fileio._CHUNK_CHARACTERS', chunk)
            for name in ('out.json', 'out.zip'):
                assert read_results(tmp_path / name) == tracks
    # A track that is no JSON leaves the old files.
    path = tmp_path / 'out.json'
    write_results(path, TRACKS)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r'track 1 \(video 2, score nan\)'):
        write_results(path, [TRACKS[0], {**TRACKS[1], 'score': float('nan')}])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_unusable_names(tmp_path):
    (tmp_path / 'a.json').mkdir()
    for name in ('out.zip', 'out', '', 'a.json'):
        for use in (check_writable, lambda path: write_results(path, [])):
            with pytest.raises(UserError, match=r'must be named \.json and be no folder'):
                use(tmp_path / name)
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot make the folder'):
        check_writable(tmp_path / 'file' / 'out.json')
    check_writable(tmp_path / 'made' / 'out.json')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.json', 'file', 'made']


def test_entries_come_one_by_one_and_faults_name_the_file(tmp_path, monkeypatch):
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
    path.write_text('{"a": 1}')
    with pytest.raises(UserError, match=f'^result file {path} must hold a list .*, not an object'):
        read_results(path)
    # A file that was cut or is missing is named, too.
    write_results(tmp_path / 'out.json', TRACKS)
    for path in (tmp_path / 'out.json', tmp_path / 'out.zip'):
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(UserError, match=f'^result file {path} is '):
            read_results(path)
        path.unlink()
        with pytest.raises(UserError, match=f'^result file not found: {path}'):
            read_results(path)


MASKS = 'a list with one RLE or null per frame'


@pytest.mark.parametrize(
    ('change', 'fault'),
    [
        ({}, None),
        ({'score': 1, 'segmentations': [], 'propagated': 3}, None),
        ({'video_id': True}, ": 'video_id' must be an integer, not True."),
        ({'video_id': 1.0}, ": 'video_id' must be an integer, not 1.0."),
        ({'category_id': '7'}, ": 'category_id' must be an integer, not a string."),
        ({'score': False}, ": 'score' must be a number, not False."),
        ({'score': None}, ": 'score' must be a number, not null."),
        ({'segmentations': None}, f": 'segmentations' must be {MASKS}, not null."),
        *(({key: ...}, f' has no {key!r} (an integer).') for key in ('video_id', 'category_id')),
        ({'score': ...}, " has no 'score' (a number)."),
        ({'segmentations': ...}, f" has no 'segmentations' ({MASKS})."),
    ],
)
def test_faults_of_keys(change, fault):
    entry = {**TRACKS[0], **change}
    assert key_fault({key: value for key, value in entry.items() if value is not ...}) == fault
    assert key_fault([]) == ' must be an object, not a list.'
