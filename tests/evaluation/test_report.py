import json

from tests.evaluation.strips import data_set, random_case, strip, track
from vispropnet.evaluation.average_precision import ALL_METRICS, evaluate_tracks
from vispropnet.evaluation.ground_truth import read_ground_truth
from vispropnet.evaluation.report import (
    error_lines,
    full_report,
    metric_lines,
    part_lines,
    score_file,
)


def written(path, content):
    path.write_text(json.dumps(content))
    return path


def test_what_a_report_holds(tmp_path):
    content, results = random_case(1)
    truth = read_ground_truth(written(tmp_path / 'gt.json', content))
    ours = score_file(truth, written(tmp_path / 'ours.json', results), True)
    other = score_file(truth, written(tmp_path / 'other.json', results[::2]), True)
    plain, theirs = full_report(ours), full_report(other, errors=True)
    counts = dict(videos=5, objects=len(content['annotations']), tracks=len(results))
    counts['videos_with_tracks'] = len({one['video_id'] for one in results})
    counts['annotations_left_out'] = 0
    metrics = evaluate_tracks(content, results)
    del metrics['mAP']
    detail = plain.pop('detail')
    assert plain == metrics | counts
    whole = full_report(ours, other, resamples=10, seed=4, errors=True)
    assert set(whole) == {*plain, 'detail', 'ci', 'bootstrap', 'baseline', 'errors', 'worst_videos'}
    # What is asked for besides changes nothing of the rest.
    assert {key: whole[key] for key in plain} == plain and whole['detail'] == detail
    assert whole['bootstrap'] == {'resamples': 10, 'seed': 4, 'level': 0.95}
    assert set(whole['ci']) == set(ALL_METRICS) == set(whole['baseline'].pop('difference'))
    assert whole['errors'] == full_report(ours, errors=True)['errors'] != theirs['errors']
    of_other = {key: theirs[key] for key in (*ALL_METRICS, 'detail')}
    assert whole['baseline'] == {**of_other, 'errors': theirs['errors']}
    assert full_report(ours, other)['baseline'] == of_other
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole
    # Frame by frame the metrics are the same.
    assert full_report(score_file(truth, tmp_path / 'ours.json')) == plain | {'detail': detail}


METRICS_BY_HAND = dict.fromkeys(ALL_METRICS, 0.5)
METRICS_BY_HAND |= {'AP': 0.12342, 'APs': 1.0, 'APm': -1.0, 'APl': -1.0}


def test_table_of_metrics():
    lines = list(metric_lines(METRICS_BY_HAND))
    assert [lines[0], lines[1], lines[5]] == ['metric   value', 'AP      0.1234', 'APm          -']
    assert [line.split()[0] for line in lines[1:]] == list(ALL_METRICS)
    baseline, difference = {**METRICS_BY_HAND, 'AP': 0.2, 'AP50': 0.25}, dict.fromkeys(ALL_METRICS)
    difference['AP'] = {'value': -0.0766, 'ci': [-0.1, 0.01], 'above_zero': 0.043}
    difference['AP50'] = {'value': 0.25, 'ci': [0.2, 0.3], 'above_zero': 1.0}
    ci = {**dict.fromkeys(ALL_METRICS), 'AP': [0.1, 0.15], 'AP50': [0.4, 0.6]}
    report = {**METRICS_BY_HAND, 'ci': ci, 'baseline': {**baseline, 'difference': difference}}
    assert list(metric_lines(report))[:6] == [
        'metric   value     95 % interval  baseline  difference       95 % interval  above 0',
        'AP      0.1234  0.1000 .. 0.1500    0.2000     -0.0766  -0.1000 .. +0.0100    4.3 %',
        'AP50    0.5000  0.4000 .. 0.6000    0.2500     +0.2500  +0.2000 .. +0.3000  100.0 %',
        'AP75    0.5000                 -    0.5000     +0.0000                   -        -',
        'APs     1.0000                 -    1.0000     +0.0000                   -        -',
        'APm          -                 -         -           -                   -        -',
    ]


def test_table_of_parts():
    metrics = {'AP': 0.25, 'AP50': 0.5, 'AP75': 0.125, 'AR1': 0.0, 'AR10': 1.0}
    parts = [{'name': '1', 'videos': 12, 'objects': 12, **metrics}]
    parts += [{'name': '5 or more', 'videos': 0, 'objects': 0, **dict.fromkeys(metrics)}]
    assert list(part_lines(parts, 'objects in a video')) == [
        'objects in a video  videos  objects      AP    AP50    AP75     AR1    AR10',
        '1                       12       12  0.2500  0.5000  0.1250  0.0000  1.0000',
        '5 or more                0        0       -       -       -       -       -',
    ]
    category = {'id': 3, 'name': 'ape', 'objects': 2, 'tracks': 31, **metrics}
    assert list(part_lines([category], 'category')) == [
        'category  objects  tracks      AP    AP50    AP75     AR1    AR10',
        'ape             2      31  0.2500  0.5000  0.1250  0.0000  1.0000',
    ]


def test_table_of_errors():
    errors = {'category': {'AP': 0.25, 'AP50': 0.125, 'count': 1234}}
    errors['missed'] = {'AP': -0.5, 'AP50': 0.0, 'count': 0}
    assert list(error_lines({'errors': errors})) == [
        'error           mAP gained if fixed  AP50 gained  count at IoU 0.5',
        'wrong category              +0.2500      +0.1250              1234',
        'missed object               -0.5000      +0.0000                 0',
    ]
    other = dict.fromkeys(errors, {'AP': 0.1, 'AP50': 0.2, 'count': 5})
    lines = list(error_lines({'errors': errors, 'baseline': {'errors': other}}))
    assert lines[0].endswith('count at IoU 0.5  baseline: mAP gained')
    assert lines[1].endswith('            1234               +0.1000')


def test_where_ours_finds_nothing_the_difference_is_a_number(tmp_path):
    content = data_set({1: 1, 2: 1}, [(video, 1, [strip(0)]) for video in (1, 2)])
    truth = read_ground_truth(written(tmp_path / 'gt.json', content))
    ours = score_file(truth, written(tmp_path / 'ours.json', []))
    other = [track(video, 1, 0.5, [strip(0)]) for video in (1, 2)]
    other = score_file(truth, written(tmp_path / 'other.json', other))
    lines = list(metric_lines(full_report(ours, other, resamples=5)))[1:5:3]
    values = '    0.0000  0.0000 .. 0.0000    1.0000     -1.0000  -1.0000 .. -1.0000    0.0 %'
    assert lines == [f'AP  {values}', f'APs {values}']
