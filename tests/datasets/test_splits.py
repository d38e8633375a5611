import copy
import json
import math
import os

import pytest

from vispropnet.datasets import splits
from vispropnet.datasets.splits import count_by_category, split_annotations, split_file
from vispropnet.errors import UserError


def make_content(held):
    """Video ``3 * n`` of categories 10, 20, 30; one object for each number in ``held[n]``."""
    # The last video's objects first. Masks are uncompressed, and stay so.
    objects = [(n, kind) for n in reversed(range(len(held))) for kind in held[n]]
    masks = dict(iscrowd=0, segmentations=[{'size': [2, 4], 'counts': [3, 5]}])
    return {
        'info': {'year': 2021},
        'videos': [
            dict(id=3 * n, width=4, height=2, file_names=[f'{n}/0.jpg'], more=n)
            for n in range(len(held))
        ],
        'categories': [{'id': 10 * n + 10, 'name': f'kind {n}'} for n in range(3)],
        'annotations': [
            dict(masks, id=number, video_id=3 * n, category_id=10 * kind + 10)
            for number, (n, kind) in enumerate(objects, 5)
        ],
        'own': {'key': [1.5, None, 'ü']},
    }


HELD = [[0, 0], [1], [0, 1], [], [0], [2], [1, 2], [], [2], [0]]


@pytest.fixture
def content():
    return make_content(HELD)


@pytest.fixture
def source(content, tmp_path):
    path = tmp_path / 'source' / 'instances.json'
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    return path


def numbers(part):
    return [video['more'] for video in part['videos']]


def test_parts_hold_whole_videos_and_all_else(content):
    before = copy.deepcopy(content)
    train, valid = split_annotations(content, 0.3, 0)
    assert content == before
    assert sorted(numbers(train) + numbers(valid)) == list(range(10))
    for part in (train, valid):
        ids = {video['id'] for video in part['videos']}
        videos = [one for one in content['videos'] if one['id'] in ids]
        kept = [one for one in content['annotations'] if one['video_id'] in ids]
        assert part == {**content, 'videos': videos, 'annotations': kept}
        assert list(part) == list(content)
    # Categories 0, 1, 2 are held by 4, 3 and 3 videos, two videos are without: 30 % is about 1.
    assert [videos for videos, _ in count_by_category(valid)] == [1, 1, 1]
    assert [videos for videos, _ in count_by_category(train)] == [3, 2, 2]


def test_the_split_of_a_seed_stays():
    """Of old splits, scores are around: the same file and seed must give them again."""
    content = make_content([[n % 3] for n in range(12)])
    pinned = {0: [0, 10, 11], 1: [1, 5, 6], 2: [0, 1, 5]}
    assert {seed: numbers(split_annotations(content, 0.25, seed)[1]) for seed in pinned} == pinned


@pytest.mark.parametrize(
    ('fraction', 'expected'), [(0.25, 2), (0.35, 4), (0.3, 3), (0.001, 1), (0.999, 9), (0.5, 5)]
)
def test_number_of_validation_videos(content, fraction, expected):
    train, valid = split_annotations(content, fraction, 0)
    assert (len(valid['videos']), len(train['videos'])) == (expected, 10 - expected)


def test_crowds_are_no_objects(content):
    content['annotations'][0]['iscrowd'] = 1  # the one object of video 9
    # Category 0: videos 0 (twice), 2, 4; 1: videos 1, 2, 6; 2: videos 5, 6, 8.
    assert count_by_category(content) == [(3, 4), (3, 3), (3, 3)]
    # Only videos 3 and 4 have what can be trained on and scored: one for either side.
    content = make_content([[0], [0], [0], [0, 1], [0, 1]])
    for annotation in content['annotations']:
        annotation['iscrowd'] = int(annotation['video_id'] not in (9, 12))
    for seed in range(10):
        assert len({3, 4} & {*numbers(split_annotations(content, 0.4, seed)[1])}) == 1


def test_files_say_the_same_as_parts(content, source, tmp_path):
    text, out = source.read_bytes(), tmp_path / 'deep/out'
    parts = split_file(source, out, 0.3, 1)
    assert sorted(os.listdir(out)) == ['train.json', 'valid.json']
    written = [json.loads((out / name).read_text()) for name in ('train.json', 'valid.json')]
    assert tuple(written) == parts == split_annotations(content, 0.3, 1)
    assert [list(one) for one in written] == [list(content)] * 2
    assert source.read_bytes() == text


def test_same_bytes_whatever_the_order_of_hashes_and_without_torch(source, run_python, tmp_path):
    code = (
        'import sys; from vispropnet.datasets.splits import split_file as s; '
        's(*sys.argv[1:3], 0.3, int(sys.argv[3])); print({"torch", "mmengine"} & {*sys.modules})'
    )
    texts = []
    for out, seed, hashes in (('a', 4, '1'), ('b', 4, '2'), ('c', 5, '2')):
        environment = {**os.environ, 'PYTHONHASHSEED': hashes}
        done = run_python('-c', code, source, tmp_path / out, seed, env=environment)
        assert (done.returncode, done.stdout) == (0, 'set()\n'), done.stderr
        texts.append([(tmp_path / out / name).read_bytes() for name in splits.FILE_NAMES])
    assert texts[0] == texts[1] != texts[2]


def test_old_files_are_kept_unless_forced(source, tmp_path):
    (tmp_path / 'valid.json').write_text('old')
    # Even before the input is looked at.
    for path in (source, tmp_path / 'none.json'):
        with pytest.raises(UserError, match=r'already there: .*valid\.json; --force'):
            split_file(path, tmp_path, 0.3, 0)
    assert (tmp_path / 'valid.json').read_text() == 'old'
    assert not (tmp_path / 'train.json').exists()
    split_file(source, tmp_path, 0.3, 0, force=True)
    assert len(json.loads((tmp_path / 'valid.json').read_text())['videos']) == 3


def test_the_input_is_never_overwritten(source, tmp_path):
    official = source.rename(source.parent / 'train.json')
    text = official.read_bytes()
    (tmp_path / 'link').symlink_to(source.parent)
    for folder in (source.parent, tmp_path / 'link'):
        with pytest.raises(UserError, match=r'train\.json is the file to be split'):
            split_file(official, folder, 0.3, 0, force=True)
    assert official.read_bytes() == text
    assert os.listdir(source.parent) == ['train.json']


@pytest.mark.parametrize('failing', [1, 2])
def test_neither_file_appears_if_one_fails(source, tmp_path, monkeypatch, failing):
    calls = []

    def write(path, part):
        calls.append(path)
        if len(calls) == failing:
            raise OSError(28, 'No space left on device')
        path.write_text('{}')

    monkeypatch.setattr(splits, 'write_json', write)
    with pytest.raises(UserError, match=r'cannot write to .*out: No space left on device\.'):
        split_file(source, tmp_path / 'out', 0.3, 0)
    assert len(calls) == failing
    assert os.listdir(tmp_path / 'out') == []


@pytest.mark.parametrize(
    ('held', 'fraction', 'seed', 'message'),
    [
        *((HELD, one, 0, f'must lie between 0 and 1, got {one}') for one in (0, 1, -0.1, math.nan)),
        (HELD, 0.1, -1, 'seed must be at least 0, got -1'),
        ([[0]], 0.5, 0, 'at least 2 videos, found 1'),
        ([[0], [], []], 0.5, 0, '1 of 3 videos hold objects'),
    ],
)
def test_what_cannot_be_split(held, fraction, seed, message):
    with pytest.raises(UserError, match=message):
        split_annotations(make_content(held), fraction, seed)


@pytest.mark.parametrize('annotations', [{}, {'annotations': None}])
def test_official_validation_files(source, tmp_path, annotations):
    content = json.loads(source.read_text())
    del content['annotations']
    source.write_text(json.dumps({**content, **annotations}))
    with pytest.raises(UserError, match='instances.json has no annotations .official'):
        split_file(source, tmp_path / 'out', 0.3, 0)
