"""Annotation and result files as nobody should write them: each gives a UserError or is read."""

import copy
import gc
import json
import math
from collections import Counter

import numpy as np
import pytest

from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_frames import check_frames
from vispropnet.datasets.check_report import Report, report_lines, reports_as_json
from vispropnet.datasets.moving_shapes import write_moving_shapes
from vispropnet.datasets.splits import read_divisible, split_annotations
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError
from vispropnet.evaluation.check_results import check_results
from vispropnet.evaluation.ground_truth import read_ground_truth
from vispropnet.evaluation.report import full_report, score_file
from vispropnet.evaluation.result_file import read_results
from vispropnet.visualization.shown_tracks import select_tracks, sound_entries

# Stand for what json does not write: it is put into the text.
RAW = {
    '@digits': '9' * 5000,
    '@deep list': '[' * 100_000 + ']' * 100_000,
    '@deep object': '{"a":' * 100_000 + '1' + '}' * 100_000,
    '@exponent': '1e999',
}
VALUES = [
    *(None, True, False, 0, 1, 2, -1, 1.0, 1.5, 10**9, 10**30, -(10**30)),
    *(math.nan, math.inf, -math.inf),
    *('', '1', 'x', '\0', '\ud800', '../../x.jpg', '/x.jpg', '..', 'a/../../x.jpg'),
    *('a://b://x.jpg', 'x' * 5000),
    *([], {}, [[]], [None], [1, 2], [1, 2, 3, 4], ['x'], {'a': 1}),
    *([math.nan] * 4, [10**30] * 4, [10**9, 10**9], [-3, -3], [0, 0], [True, True]),
    {'size': [10**9, 10**9], 'counts': '0'},
    {'size': [32, 48], 'counts': [1536]},
    {'size': [32, 48], 'counts': [10**30, -(10**30), 1536]},
    {'size': [32, 48], 'counts': [math.nan]},
    *RAW,
]


def random_place(value, rng):
    """A container in a JSON value, and a key of it: at any depth alike, if there is more below."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[rng.integers(len(keys))]
        below = value[key]
        if not (isinstance(below, (list, dict)) and below) or rng.random() < 0.25:
            return value, key
        value = below


def mutate(content, rng):
    """Drops, replaces or repeats a value."""
    container, key = random_place(content, rng)
    action = rng.choice(['drop', 'replace', 'replace', 'replace', 'copy', 'repeat'])
    if action == 'drop':
        del container[key]
    elif action == 'replace':
        container[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    elif action == 'copy':
        other, name = random_place(content, rng)
        container[key] = copy.deepcopy(other[name])
    elif isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))


def mutated(content, rng):
    """The bytes of a file that is a little other than the given content."""
    content = copy.deepcopy(content)
    for _ in range(rng.integers(1, 3)):
        if content:
            mutate(content, rng)
    text = json.dumps(content)
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    data = bytearray(text.encode('utf-8'))
    for _ in range(rng.integers(1, 4) if rng.random() < 0.2 else 0):
        data[rng.integers(len(data))] = rng.integers(32, 127)
    if rng.random() < 0.05:
        del data[rng.integers(len(data)) :]
    return bytes(data)


def load_samples(path, images):
    """Reads a clip for training and a frame for test."""
    test = [dict(type='LoadVideoFrame'), dict(type='PackFrameInputs')]
    train = [test[0], dict(type='LoadTrackedAnnotations'), test[1]]
    for pipeline, mode in ((train, False), (test, True)):
        dataset = YouTubeVIS(str(path), '', dict(img=str(images)), pipeline, test_mode=mode)
        for index in range(0, len(dataset), 2):
            dataset[index]


def split(path):
    split_annotations(read_divisible(path), 0.5, 0)


def score(annotations, results):
    scored = score_file(read_ground_truth(annotations), results, frame_by_frame=True)
    json.dumps(full_report(scored, resamples=3, errors=True))


def show(annotations, results):
    content = read_annotation_file(annotations)
    categories = {one['id']: one['name'] for one in content['categories']}
    select_tracks(sound_entries(results), content['videos'], 0.1, categories)


def check(annotations, results, images):
    report = Report(str(annotations))
    contents = check_annotations(annotations, report, progress=False)
    check_frames(contents.videos, images, report, progress=False)
    check_results(results, contents, report)
    json.dumps(reports_as_json([report]))
    '\n'.join(report_lines([report]))


@pytest.fixture
def folder(tmp_path):
    """Two videos of three frames, 48 x 32; the true tracks as results."""
    options = dict(train_videos=2, val_videos=1, frames=3, size=(48, 32), progress=False)
    folder = write_moving_shapes(tmp_path / 'data', **options) / 'train'
    truths = json.loads((folder / 'instances.json').read_text())['annotations']
    keys = ('video_id', 'category_id', 'segmentations')
    results = [{key: one[key] for key in keys} for one in truths]
    results = [{**one, 'score': 0.9 - 0.01 * index} for index, one in enumerate(results)]
    (folder / 'results.json').write_text(json.dumps(results))
    # Data sets collect garbage when they are made, which takes long among all that is imported.
    load_samples(folder / 'instances.json', folder / 'JPEGImages')
    gc.freeze()
    yield folder
    gc.unfreeze()


@pytest.mark.parametrize(
    'seeds', [range(200), pytest.param(range(1000, 6000), marks=pytest.mark.long)], ids=len
)
def test_mutated_files_give_user_errors_or_are_read(folder, seeds):
    names = ('instances.json', 'results.json', 'JPEGImages', 'mutated.json')
    annotations, results, images, path = (folder / one for one in names)
    sound = [json.loads(path.read_text()) for path in (results, annotations)]
    pairs = (annotations, path), (path, results)
    readers = [{score: pair, show: pair, check: (*pair, images)} for pair in pairs]
    readers[0] |= {read_results: (path,)}
    readers[1] |= {read_annotation_file: (path,), load_samples: (path, images), split: (path,)}
    tally = Counter()
    for seed in seeds:
        kind = seed % 2
        path.write_bytes(mutated(sound[kind], np.random.default_rng(seed)))
        for read, arguments in readers[kind].items():
            try:
                read(*arguments)
                tally[kind, read, 'worked'] += 1
            except UserError:
                tally[kind, read, 'refused'] += 1
            except Exception as error:
                raise AssertionError(f'seed {seed}: {read.__name__} gave {error!r}') from error
    assert len(tally) == 2 * sum(map(len, readers))  # each did both
