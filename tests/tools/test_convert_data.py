import json
import shlex

import pytest

from tests.converting.sources import write_frames, write_mask

MASK = '110000/110022/000022/000000'


@pytest.fixture
def source(tmp_path):
    for video in ('a', 'b'):
        write_frames(tmp_path / 'in' / 'frames' / video, '0.jpg', '1.jpg')
        for at in (0, 1):
            write_mask(tmp_path / 'in' / 'masks' / video / f'{at}.png', MASK)
    return tmp_path / 'in'


def test_prints_the_summary_the_verdict_and_what_to_type(tool, source, tmp_path):
    out = tmp_path / 'my data'
    status, printed, _ = tool('masks', source, out)
    lines = printed.splitlines()
    assert status == 0
    assert f'{source}: 0 errors, 0 warnings' in lines
    assert (
        f'{out}/instances.json: 0 errors, 0 warnings; looked at 2 videos, 4 annotations, 8 masks, '
        '4 frames, 2 images opened' in lines
    )
    assert f'wrote 2 videos, 4 frames, 4 objects (object 4) to {out}' in lines
    (split,) = [line.removeprefix('split: ') for line in lines if line.startswith('split: ')]
    _, _, *arguments = shlex.split(split)
    assert tool(*arguments, file='split_ytvis.py')[0] == 0
    (train,) = [line.removeprefix('train: ') for line in lines if line.startswith('train: ')]
    _, program, config, option, root = shlex.split(train)
    assert (program, option) == ('tools/train.py', '--cfg-options')
    arguments = [config, '--cfg-options', root]
    status, printed, errors = tool(*arguments, file='check_data.py')
    assert status == 0, errors
    assert 'train.json: 0 errors' in printed and 'valid.json: 0 errors' in printed


def test_one_video_is_trained_and_validated_on(tool, source, tmp_path, root):
    for kind in ('frames', 'masks'):
        for path in (source / kind / 'b').iterdir():
            path.unlink()
        (source / kind / 'b').rmdir()
    _, printed, _ = tool('masks', source, tmp_path / 'out')
    (train,) = [line for line in printed.splitlines() if line.startswith('train ')]
    _, _, config, *arguments = shlex.split(train.partition('): ')[2])
    status, printed, errors = tool(config, *arguments, file='check_data.py')
    assert status == 0, errors


def test_all_errors_are_listed_and_nothing_is_written(tool, source, tmp_path):
    (source / 'masks' / 'a' / '0.png').unlink()
    write_mask(source / 'masks' / 'b' / '1.png', '11/11')
    status, printed, errors = tool('masks', source, tmp_path / 'out')
    assert status == 1 and 'nothing was written' in errors
    assert 'error: missing mask (1)' in printed and 'error: mask (1)' in printed
    assert f'video a, frame 0 ({source}/frames/a/0.jpg): there is no file of masks' in printed
    assert f'video b, frame 1 ({source}/frames/b/1.jpg)' in printed
    assert [path.name for path in tmp_path.iterdir()] == ['in']


def test_options_reach_the_conversion(tool, source, tmp_path, monkeypatch):
    (source / 'masks' / 'a' / '0.png').unlink()
    (tmp_path / 'names.json').write_text('{"1": "cat", "2": "dog"}')
    options = [
        '--frames',
        'copy',
        '--every',
        '2',
        '--max-size',
        '3',
        '--missing',
        'empty',
        '--categories',
    ]
    out = tmp_path / 'out'
    assert tool('masks', source, out, *options, tmp_path / 'names.json')[0] == 0
    content = json.loads((out / 'instances.json').read_text())
    assert [(one['length'], one['width']) for one in content['videos']] == [(1, 3), (1, 3)]
    assert [one['name'] for one in content['categories']] == ['cat', 'dog']
    assert tool('masks', source, out)[0] == 2
    assert tool('masks', source, out, '--force', '--missing', 'empty')[0] == 0


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['masks', 'gone', 'out'], 'gone not found'),
        (['masks', 'in', 'in/out'], 'outside of the source'),
        (['masks', 'in', 'out', '--split', 'train'], '--split is not for this form'),
        (['masks', 'in', 'out', '--every', '0'], 'every must be a whole number from 1 up'),
        (['other', 'in', 'out'], 'invalid choice'),
    ],
)
def test_mistakes_give_one_message_and_status_2(
    tool, source, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    status, _, errors = tool(*arguments)
    assert status == 2 and words in errors and 'Traceback' not in errors
    assert [path.name for path in tmp_path.iterdir()] == ['in']
