"""Annotation and result files as nobody should write them: each gives a UserError or is read."""

import gc
import json
from collections import Counter

import numpy as np
import pytest

from tests.faults.json_mutations import RAW, mutated
from vispropnet.datasets.annotation_file import read_annotation_file
from vispropnet.datasets.check_annotations import check_annotations
from vispropnet.datasets.check_frames import check_frames
from vispropnet.datasets.check_report import Report, report_lines, reports_as_json
from vispropnet.datasets.moving_shapes.files import write_moving_shapes
from vispropnet.datasets.splits import read_divisible, split_annotations
from vispropnet.datasets.ytvis import YouTubeVIS
from vispropnet.errors import UserError
from vispropnet.evaluation.check_results import check_results
from vispropnet.evaluation.ground_truth import read_ground_truth
from vispropnet.evaluation.report import full_report, score_file
from vispropnet.evaluation.result_file import read_results
from vispropnet.visualization.shown_tracks import select_tracks, sound_entries

TEST = [dict(type='LoadVideoFrame'), dict(type='PackFrameInputs')]
TRAIN = [TEST[0], dict(type='LoadTrackedAnnotations'), TEST[1]]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two videos of three frames, 48 x 32."""
    made = tmp_path_factory.mktemp('hostile') / 'data'
    return write_moving_shapes(
        made, train_videos=2, val_videos=1, frames=3, size=(48, 32), progress=False
    )


@pytest.fixture(scope='module')
def content(folder):
    return json.loads((folder / 'train/instances.json').read_text())


def results_of(content):
    """The true tracks as results."""
    return [
        dict(
            video_id=one['video_id'],
            category_id=one['category_id'],
            score=0.9 - 0.01 * index,
            segmentations=one['segmentations'],
        )
        for index, one in enumerate(content['annotations'])
    ]


def load_samples(path, folder):
    """Reads a clip for training and a frame for test."""
    options = dict(data_prefix=dict(img=str(folder / 'train/JPEGImages')))
    for pipeline, test_mode in ((TRAIN, False), (TEST, True)):
        dataset = YouTubeVIS(str(path), pipeline=pipeline, test_mode=test_mode, **options)
        for index in range(0, len(dataset), 2):
            dataset[index]


def score(annotations, results):
    scored = score_file(read_ground_truth(annotations), results, frame_by_frame=True)
    json.dumps(full_report(scored, resamples=3, errors=True))


def split(path):
    split_annotations(read_divisible(path), 0.5, 0)


def show(annotations, results):
    content = read_annotation_file(annotations)
    categories = {one['id']: one['name'] for one in content['categories']}
    select_tracks(sound_entries(results), content['videos'], 0.1, categories)


def check(annotations, results, folder):
    report = Report(str(annotations))
    contents = check_annotations(annotations, report, progress=False)
    check_frames(contents.videos, folder / 'train/JPEGImages', report, progress=False)
    check_results(results, contents, report)
    json.dumps(reports_as_json([report]))
    '\n'.join(report_lines([report]))


def escaped(readers, tally):
    """What comes out of readers that is no UserError, by reader; the rest is counted."""
    found = {}
    for name, reader in readers.items():
        try:
            reader()
            tally[name, 'worked'] += 1
        except UserError:
            tally[name, 'refused'] += 1
        except Exception as error:
            found[name] = error
    return found


def annotation_readers(path, results, folder):
    return dict(
        read=lambda: read_annotation_file(path),
        load=lambda: load_samples(path, folder),
        score=lambda: score(path, results),
        split=lambda: split(path),
        show=lambda: show(path, results),
        check=lambda: check(path, results, folder),
    )


def result_readers(path, annotations, folder):
    return dict(
        read=lambda: read_results(path),
        score=lambda: score(annotations, path),
        show=lambda: show(annotations, path),
        check=lambda: check(annotations, path, folder),
    )


@pytest.fixture
def little_garbage(folder):
    """Data sets collect garbage when they are made, which takes long among all that is imported."""
    load_samples(folder / 'train/instances.json', folder)
    gc.freeze()
    yield
    gc.unfreeze()


def run_mutations(seeds, folder, tmp_path):
    """Reads as many mutated files as there are seeds; gives what escaped."""
    annotations = folder / 'train/instances.json'
    content = json.loads(annotations.read_text())
    results = results_of(content)
    sound = tmp_path / 'results.json'
    sound.write_text(json.dumps(results))
    path = tmp_path / 'mutated.json'
    found = {}
    tallies = {'annotations': Counter(), 'results': Counter()}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        path.write_bytes(mutated(content if seed % 2 else results, rng))
        if seed % 2:
            readers = annotation_readers(path, sound, folder)
        else:
            readers = result_readers(path, annotations, folder)
        tally = tallies['annotations' if seed % 2 else 'results']
        for name, error in escaped(readers, tally).items():
            found[seed, name] = repr(error)
    for kind, tally in tallies.items():
        print(kind, {' '.join(key): value for key, value in sorted(tally.items())})
    return found


def test_the_sound_files_are_read(folder, tmp_path):
    annotations = folder / 'train/instances.json'
    results = tmp_path / 'results.json'
    results.write_text(json.dumps(results_of(json.loads(annotations.read_text()))))
    load_samples(annotations, folder)
    score(annotations, results)
    split(annotations)
    show(annotations, results)
    check(annotations, results, folder)


@pytest.mark.parametrize(
    'seeds', [range(200), pytest.param(range(1000, 6000), marks=pytest.mark.slow)], ids=len
)
@pytest.mark.usefixtures('little_garbage')
def test_mutated_files_give_user_errors_or_are_read(folder, tmp_path, seeds):
    assert run_mutations(seeds, folder, tmp_path) == {}


def set_value(*keys, value):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize('raw', RAW.values(), ids=['digits', 'list', 'object', 'exponent'])
def test_json_that_python_does_not_take(content, tmp_path, raw):
    path = tmp_path / 'ann.json'
    path.write_text(json.dumps({**content, 'videos': '@'}).replace('"@"', raw))
    with pytest.raises(UserError, match=r'ann\.json'):
        read_annotation_file(path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (set_value(0, 'video_id', value=True), "'video_id' must be an integer, not True"),
        (set_value(0, 'score', value=None), "'score' must be a number, not null"),
        (set_value(0, value=[]), 'entry 0 must be an object, not a list'),
    ],
)
def test_result_files_are_refused(content, tmp_path, change, message):
    results = results_of(content)
    change(results)
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(results))
    with pytest.raises(UserError, match=message):
        read_results(path)
