import copy
import json
import os

import pytest

from vispropnet.datasets import splits
from vispropnet.datasets.splits import (
    count_by_category,
    split_annotations,
    split_file,
)
from vispropnet.errors import UserError


def make_content(held, categories=3):
    """Video ``3 * n`` of categories 10, 20, ...; one object for each number in ``held[n]``."""
    content = {
        'info': {'year': 2021},
        'licenses': [{'id': 1}],
        'videos': [
            {'id': 3 * n, 'width': 4, 'height': 2, 'file_names': [f'{n}/0.jpg'], 'more': n}
            for n in range(len(held))
        ],
        'categories': [{'id': 10 * n + 10, 'name': f'kind {n}'} for n in range(categories)],
        'annotations': [],
        'own': {'key': [1.5, None, 'ü']},
    }
    # Objects of all videos mixed, the last video first.
    for place in range(max(map(len, held))):
        for n in reversed(range(len(held))):
            if place < len(held[n]):
                content['annotations'].append(
                    {
                        'id': len(content['annotations']) + 5,
                        'video_id': 3 * n,
                        'category_id': 10 * held[n][place] + 10,
                        'iscrowd': 0,
                        # Uncompressed, as it stays.
                        'segmentations': [{'size': [2, 4], 'counts': [3, 5]}],
                        'areas': [9],
                    }
                )
    return content


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
    assert len(valid['videos']) == 3
    assert sorted(numbers(train) + numbers(valid)) == list(range(10))
    for part in (train, valid):
        assert list(part) == list(content)
        for key in ('info', 'licenses', 'categories', 'own'):
            assert part[key] == content[key]
        ids = {video['id'] for video in part['videos']}
        assert part['videos'] == [one for one in content['videos'] if one['id'] in ids]
        kept = [one for one in content['annotations'] if one['video_id'] in ids]
        assert part['annotations'] == kept
    # Categories 0, 1, 2 are held by 4, 3 and 3 videos, two videos are without: 30 % is about 1.
    assert [videos for videos, _ in count_by_category(valid)] == [1, 1, 1]
    assert [videos for videos, _ in count_by_category(train)] == [3, 2, 2]


def test_the_split_of_a_seed_stays():
    """Of old splits, scores are around: the same file and seed must give them again."""
    content = make_content([[n % 3] for n in range(12)])
    pinned = {0: [0, 10, 11], 1: [1, 5, 6], 2: [0, 1, 5]}
    for seed, chosen in pinned.items():
        assert sorted(n % 3 for n in chosen) == [0, 1, 2]
        assert numbers(split_annotations(content, 0.25, seed)[1]) == chosen


@pytest.mark.parametrize(
    ('fraction', 'expected'),
    [(0.25, 2), (0.35, 4), (0.3, 3), (0.001, 1), (0.04, 1), (0.96, 9), (0.999, 9), (0.5, 5)],
)
def test_number_of_validation_videos(content, fraction, expected):
    train, valid = split_annotations(content, fraction, 0)
    assert (len(valid['videos']), len(train['videos'])) == (expected, 10 - expected)


def test_counts(content):
    content['annotations'][0]['iscrowd'] = 1  # the one object of video 9
    assert content['annotations'][0]['video_id'] == 27
    # Category 0: videos 0 (twice), 2, 4; 1: videos 1, 2, 6; 2: videos 5, 6, 8.
    assert count_by_category(content) == [(3, 4), (3, 3), (3, 3)]


@pytest.mark.parametrize('seed', range(10))
def test_crowds_are_no_objects(seed):
    content = make_content([[0], [0], [0], [0, 1], [0, 1]], categories=2)
    for annotation in content['annotations']:
        annotation['iscrowd'] = int(annotation['video_id'] not in (9, 12))
    # Only videos 3 and 4 have what can be trained on and scored: one for either side.
    _, valid = split_annotations(content, 0.4, seed)
    assert len({3, 4} & set(numbers(valid))) == 1


def test_files_say_the_same_as_parts(content, source, tmp_path):
    text = source.read_bytes()
    parts = split_file(source, tmp_path / 'deep' / 'out', 0.3, 1)
    written = [json.loads((tmp_path / 'deep/out' / name).read_text()) for name in splits.FILE_NAMES]
    assert tuple(written) == parts == split_annotations(content, 0.3, 1)
    assert [list(one) for one in written] == [list(content)] * 2
    assert source.read_bytes() == text
    assert sorted(os.listdir(tmp_path / 'deep' / 'out')) == ['train.json', 'valid.json']


def test_same_bytes_whatever_the_order_of_hashes(source, run_python, tmp_path):
    code = 'import sys; from vispropnet.datasets.splits import split_file as s; s(*sys.argv[1:3], '
    texts = {}
    for out, seed, hashes in (('a', 4, '1'), ('b', 4, '2'), ('c', 5, '2')):
        environment = {**os.environ, 'PYTHONHASHSEED': hashes}
        done = run_python('-c', f'{code}0.3, {seed})', source, tmp_path / out, env=environment)
        assert done.returncode == 0, done.stderr
        texts[out] = [(tmp_path / out / name).read_bytes() for name in splits.FILE_NAMES]
    assert texts['a'] == texts['b']
    assert texts['a'] != texts['c']


def test_the_module_needs_no_torch(run_python):
    code = (
        'import sys, vispropnet.datasets.splits; '
        'print([name for name in ("torch", "mmengine", "cv2") if name in sys.modules])'
    )
    assert run_python('-c', code).stdout == '[]\n'


def test_old_files_are_kept_unless_forced(source, tmp_path):
    (tmp_path / 'valid.json').write_text('old')
    with pytest.raises(UserError, match=r'already there: .*valid\.json; --force'):
        split_file(source, tmp_path, 0.3, 0)
    assert (tmp_path / 'valid.json').read_text() == 'old'
    assert not (tmp_path / 'train.json').exists()
    # Even before the input is looked at.
    with pytest.raises(UserError, match='already there'):
        split_file(tmp_path / 'none.json', tmp_path, 0.3, 0)
    split_file(source, tmp_path, 0.3, 0, force=True)
    assert len(json.loads((tmp_path / 'valid.json').read_text())['videos']) == 3


def test_the_input_is_never_overwritten(source, tmp_path):
    official = source.rename(source.parent / 'train.json')
    text = official.read_bytes()
    link = tmp_path / 'link'
    link.symlink_to(source.parent)
    for folder in (source.parent, link):
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


def test_a_folder_that_cannot_be_made(source, tmp_path):
    (tmp_path / 'taken').write_text('')
    for out in ('taken', 'taken/deep'):
        with pytest.raises(UserError, match=r'cannot write .*taken'):
            split_file(source, tmp_path / out, 0.3, 0)


@pytest.mark.parametrize('fraction', [0, 1, -0.1, 1.5, float('nan'), float('inf')])
def test_fractions_outside(content, source, tmp_path, fraction):
    with pytest.raises(UserError, match=f'must lie between 0 and 1, got {fraction}'):
        split_annotations(content, fraction, 0)
    with pytest.raises(UserError, match='must lie between 0 and 1'):
        split_file(source, tmp_path / 'out', fraction, 0)


def test_negative_seed(content):
    with pytest.raises(UserError, match='seed must be at least 0, got -1'):
        split_annotations(content, 0.1, -1)


def test_too_few_videos():
    with pytest.raises(UserError, match='at least 2 videos, found 1'):
        split_annotations(make_content([[0]]), 0.5, 0)
    with pytest.raises(UserError, match='1 of 3 videos hold objects'):
        split_annotations(make_content([[0], [], []]), 0.5, 0)


@pytest.mark.parametrize('content', [{}, {'annotations': None}])
def test_official_validation_files(tmp_path, content):
    path = tmp_path / 'valid.json'
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'valid\.json has no annotations \(official'):
        split_file(path, tmp_path / 'out', 0.3, 0)
