import json


def test_writes_the_layout_and_says_what_it_wrote(tool, tmp_path):
    out = tmp_path / 'deep' / 'set'
    options = '--preset occlusion --videos 2 --val-videos 1 --frames 3 --size 64 48 --seed 7'
    _, printed, progress = tool(out, *options.split())
    (line,) = [line for line in printed.splitlines() if line.startswith('wrote')]
    for word in ('2 train', '1 valid', '3 frames', '64x48', 'occlusion', 'seed 7', str(out)):
        assert word in line
    assert '3/3' in progress
    assert sorted(path.name for path in out.iterdir()) == ['train', 'valid']
    for split, count in (('train', 2), ('valid', 1)):
        content = json.loads((out / split / 'instances.json').read_text())
        assert len(content['videos']) == count and content['info']['size'] == [64, 48]
        names = [name for video in content['videos'] for name in video['file_names']]
        images = out / split / 'JPEGImages'
        found = [path.relative_to(images).as_posix() for path in images.rglob('*.jpg')]
        assert len(names) == 3 * count and sorted(found) == sorted(names)


def test_mistakes_give_one_message_and_status_2(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'taken').write_text('text')
    for options, message in (
        ('set --size 160 16', '160x16'),
        ('set --videos 0', '0 train videos'),
        ('set --val-videos -1', '-1 valid videos'),
        ('taken', 'taken'),
        ('taken/set', 'taken'),
    ):
        status, _, errors = tool(*options.split())
        assert status == 2 and message in errors
        assert errors.count('error:') == 1 and 'Traceback' not in errors
        assert [path.read_text() for path in tmp_path.iterdir()] == ['text']


def test_a_taken_folder_is_kept_unless_forced(tool, tmp_path):
    options = [tmp_path, '--videos', '1', '--val-videos', '1', '--frames', '1']
    old = tmp_path / 'train' / 'old.jpg'
    old.parent.mkdir()
    old.write_bytes(b'old')
    status, _, errors = tool(*options)
    assert status == 2 and '--force' in errors and old.read_bytes() == b'old'
    assert tool(*options, '--force')[0] == 0
    assert not old.exists() and (tmp_path / 'train' / 'instances.json').is_file()
