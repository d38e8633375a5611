import json
import zipfile

import pytest

from tests.evaluation.strips import data_set, random_case, shown, strip, track
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import FIGURES, evaluate_tracks
from vispropnet.evaluation.ground_truth import read_ground_truth
from vispropnet.evaluation.report import (
    aligned,
    error_lines,
    figure_lines,
    full_report,
    part_lines,
    score_file,
)


def written(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def files(tmp_path):
    """A random case and its files."""
    content, results = random_case(1)
    truth = written(tmp_path / 'gt.json', content)
    return content, results, truth, written(tmp_path / 'results.json', results)


# --- reading and scoring --------------------------------------------------------------------------


def test_a_file_is_scored_as_its_content_is(files):
    content, results, truth_path, results_path = files
    truth = read_ground_truth(truth_path)
    for frame_by_frame in (False, True):
        scored = score_file(truth, results_path, frame_by_frame)
        expected = evaluate_tracks(content, results)
        assert scored.figures == {name: expected[name] for name in FIGURES}
        assert len(scored.matches.tracks.score) == len(results)
        assert (scored.matches.tracks.frames is None) == (not frame_by_frame)


def test_an_archive_is_scored_as_its_file_is(files, tmp_path):
    _, results, truth_path, results_path = files
    with zipfile.ZipFile(tmp_path / 'upload.zip', 'w') as archive:
        archive.writestr('results.json', json.dumps(results))
    truth = read_ground_truth(truth_path)
    assert (
        score_file(truth, tmp_path / 'upload.zip').figures
        == score_file(truth, results_path).figures
    )


def test_messages_name_the_file_once(tmp_path):
    content = data_set({1: 2}, [(1, 1, shown(0, '11'))])
    truth = read_ground_truth(written(tmp_path / 'gt.json', content))
    entry = track(1, 1, 0.5, shown(0, '11'))
    for fault, message in [
        (
            {**entry, 'score': 2},
            'video 1, result entry 1: score must be within [0, 1], got 2. Scale the scores: only '
            'their order counts.',
        ),
        ({**entry, 'score': '1'}, "entry 1: 'score' must be a number, not a string."),
        ({**entry, 'video_id': 5}, 'result entry 1: video_id 5 is not in the annotations.'),
        (5, 'entry 1 must be an object, not 5.'),
    ]:
        path = written(tmp_path / 'results.json', [entry, fault])
        with pytest.raises(UserError) as caught:
            score_file(truth, path)
        assert str(caught.value) == f'result file {path}: {message}'
    path = tmp_path / 'none.json'
    with pytest.raises(UserError) as caught:
        score_file(truth, path)
    assert str(caught.value) == f'result file not found: {path}.'


def test_fault_in_the_ground_truth_names_its_file(tmp_path):
    content = data_set({1: 2}, [(1, 1, shown(0, '11'))])
    content['annotations'][0]['segmentations'][1]['counts'] = '0'
    path = written(tmp_path / 'gt.json', content)
    with pytest.raises(UserError) as caught:
        read_ground_truth(path)
    assert str(caught.value).startswith(
        f'annotation file {path}: annotations[0], annotation 1, video 1, frame 1 (v1/01.jpg): '
        "'counts' of the RLE are damaged"
    )


# --- the whole report -----------------------------------------------------------------------------


def test_what_a_report_holds(files, tmp_path):
    content, results, truth_path, results_path = files
    truth = read_ground_truth(truth_path)
    ours = score_file(truth, results_path, True)
    other = score_file(truth, written(tmp_path / 'other.json', results[::2]), True)
    plain = full_report(ours)
    common = {*FIGURES, 'videos', 'objects', 'tracks', 'detail'}
    common |= {'videos_with_tracks', 'annotations_left_out'}
    assert (plain['videos_with_tracks'], plain['annotations_left_out']) == (
        len({one['video_id'] for one in results}),
        0,
    )
    assert set(plain) == common
    assert {name: plain[name] for name in FIGURES} == ours.figures
    assert (plain['videos'], plain['objects'], plain['tracks']) == (
        5,
        len(content['annotations']),
        len(results),
    )
    baseline = full_report(ours, other)['baseline']
    assert baseline.pop('detail') == full_report(other)['detail']
    assert baseline == other.figures
    theirs = full_report(other, errors=True)['errors']
    whole = full_report(ours, other, resamples=10, seed=4, errors=True)
    assert set(whole) == {*common, 'ci', 'bootstrap', 'baseline', 'errors', 'worst_videos'}
    assert whole['bootstrap'] == {'resamples': 10, 'seed': 4, 'level': 0.95}
    assert set(whole['ci']) == set(FIGURES)
    assert set(whole['baseline']) == {*FIGURES, 'detail', 'difference', 'errors'}
    assert whole['errors'] == full_report(ours, errors=True)['errors'] != theirs
    assert whole['baseline']['errors'] == theirs
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole
    # What is asked for besides changes nothing of the rest.
    assert {key: whole[key] for key in common} == plain


def test_a_seed_gives_the_same_report(files):
    _, _, truth_path, results_path = files
    ours = score_file(read_ground_truth(truth_path), results_path)
    one, again, other = (full_report(ours, ours, 10, seed) for seed in (1, 1, 2))
    assert one == again
    assert one['ci'] != other['ci']
    assert {name: one[name] for name in FIGURES} == {name: other[name] for name in FIGURES}


# --- tables ---------------------------------------------------------------------------------------

FIGURES_BY_HAND = {
    **dict.fromkeys(FIGURES, 0.5),
    'AP': 0.12342,
    'APs': 1.0,
    'APm': -1.0,
    'APl': -1.0,
}


def test_table_of_figures_alone():
    lines = list(figure_lines(FIGURES_BY_HAND))
    assert lines[:7] == [
        'figure   value',
        'AP      0.1234',
        'AP50    0.5000',
        'AP75    0.5000',
        'APs     1.0000',
        'APm          -',
        'APl          -',
    ]
    assert [line.split()[0] for line in lines[7:]] == ['AR1', 'AR10', 'AR100', 'ARs', 'ARm', 'ARl']


def test_table_with_all_columns():
    baseline = {**FIGURES_BY_HAND, 'AP': 0.2, 'AP50': 0.25}
    difference = {
        **dict.fromkeys(FIGURES),
        'AP': {'value': -0.0766, 'ci': [-0.1, 0.01], 'above_zero': 0.043},
        'AP50': {'value': 0.25, 'ci': [0.2, 0.3], 'above_zero': 1.0},
    }
    report = {
        **FIGURES_BY_HAND,
        'ci': {**dict.fromkeys(FIGURES), 'AP': [0.1, 0.15], 'AP50': [0.4, 0.6]},
        'baseline': {**baseline, 'difference': difference},
    }
    assert list(figure_lines(report))[:6] == [
        'figure   value     95 % interval  baseline  difference       95 % interval  above 0',
        'AP      0.1234  0.1000 .. 0.1500    0.2000     -0.0766  -0.1000 .. +0.0100    4.3 %',
        'AP50    0.5000  0.4000 .. 0.6000    0.2500     +0.2500  +0.2000 .. +0.3000  100.0 %',
        'AP75    0.5000                 -    0.5000     +0.0000                   -        -',
        'APs     1.0000                 -    1.0000     +0.0000                   -        -',
        'APm          -                 -         -           -                   -        -',
    ]


def test_table_of_parts():
    figures = {'AP': 0.25, 'AP50': 0.5, 'AP75': 0.125, 'AR1': 0.0, 'AR10': 1.0}
    parts = [
        {'name': '1', 'videos': 12, 'objects': 12, **figures},
        {'name': '5 or more', 'videos': 0, 'objects': 0, **dict.fromkeys(figures)},
    ]
    assert list(part_lines(parts, 'objects in a video')) == [
        'objects in a video  videos  objects      AP    AP50    AP75     AR1    AR10',
        '1                       12       12  0.2500  0.5000  0.1250  0.0000  1.0000',
        '5 or more                0        0       -       -       -       -       -',
    ]
    category = {'id': 3, 'name': 'ape', 'objects': 2, 'tracks': 31, **figures}
    assert list(part_lines([category], 'category')) == [
        'category  objects  tracks      AP    AP50    AP75     AR1    AR10',
        'ape             2      31  0.2500  0.5000  0.1250  0.0000  1.0000',
    ]


def test_table_of_errors():
    report = {
        'errors': {
            'category': {'AP': 0.25, 'AP50': 0.125, 'count': 1234},
            'missed': {'AP': -0.5, 'AP50': 0.0, 'count': 0},
        }
    }
    assert list(error_lines(report)) == [
        'error           mAP gained if fixed  AP50 gained  count at IoU 0.5',
        'wrong category              +0.2500      +0.1250              1234',
        'missed object               -0.5000      +0.0000                 0',
    ]
    other = {kind: {'AP': 0.1, 'AP50': 0.2, 'count': 5} for kind in ('category', 'missed')}
    lines = list(error_lines({**report, 'baseline': {'errors': other}}))
    assert lines[0].endswith('count at IoU 0.5  baseline: mAP gained')
    assert lines[1].endswith('            1234               +0.1000')


def test_cells_are_aligned():
    rows = [['a', 'bcd', 'e'], ['fgh', 'i', 'jk'], ['', '', '']]
    assert list(aligned(rows)) == ['a    bcd   e', 'fgh    i  jk', '']


def test_where_ours_finds_nothing_the_difference_is_a_number(tmp_path):
    content = data_set({1: 1, 2: 1}, [(video, 1, [strip(0)]) for video in (1, 2)])
    truth = read_ground_truth(written(tmp_path / 'gt.json', content))
    ours = score_file(truth, written(tmp_path / 'ours.json', []))
    other = [track(video, 1, 0.5, [strip(0)]) for video in (1, 2)]
    other = score_file(truth, written(tmp_path / 'other.json', other))
    assert list(figure_lines(full_report(ours, other, resamples=5)))[1:5:3] == [
        'AP      0.0000  0.0000 .. 0.0000    1.0000     -1.0000  -1.0000 .. -1.0000    0.0 %',
        'APs     0.0000  0.0000 .. 0.0000    1.0000     -1.0000  -1.0000 .. -1.0000    0.0 %',
    ]
