"""Scores of small cases by hand, and what is done with the input."""

import copy
import json

import numpy as np
import pytest

from tests.evaluation.content import encode, track
from tests.evaluation.strips import HEIGHT, WIDTH, data_set, random_case, shown
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import (
    ALL_METRICS,
    MAIN_METRICS,
    evaluate_tracks,
    format_table,
)


def rows(*counts, inverse=False):
    """A frame per argument: so many pixels, row by row from the top left on; or all others."""
    masks = np.zeros((len(counts), HEIGHT, WIDTH), bool)
    for mask, count in zip(masks, counts, strict=True):
        mask.reshape(-1)[:count] = True
    return [encode(mask) if mask.any() else None for mask in masks ^ inverse]


def annotation_file(*truths):
    """Two videos of three frames, three categories."""
    return data_set({1: 3, 2: 3}, truths, categories=(1, 2, 3))


def headline(content, results):
    """The five metrics that papers report, of objects that are all small."""
    metrics = evaluate_tracks(content, results)
    assert set(metrics) == {'mAP', *ALL_METRICS}
    assert metrics['AP'] == metrics['APs'] == metrics['mAP']
    assert metrics['AR100'] == metrics['ARs']
    assert metrics['AR10'] <= metrics['AR100']
    assert [metrics[name] for name in ('APm', 'APl', 'ARm', 'ARl')] == [-1] * 4
    return {name: metrics[name] for name in MAIN_METRICS}


def test_perfect_results():
    # One track per video and category: also the single best one finds everything.
    truths = [(1, 1, rows(20, 30, 0)), (1, 3, rows(0, 7, 9)), (2, 1, rows(40, 0, 1))]
    results = [track(video, category, 0.3, masks) for video, category, masks in truths]
    metrics = headline(annotation_file(*truths), results)
    assert metrics == pytest.approx(dict.fromkeys(MAIN_METRICS, 1.0))


def test_two_videos_by_hand():
    content = annotation_file(
        (1, 1, rows(10, 10, 10)),
        (2, 1, rows(16, 16, 0)),
        (2, 1, rows(60, 60, 60, inverse=True)),
    )
    results = [
        track(2, 1, 0.7, rows(10, 10, 0)),  # IoU 20 / 32 = 0.625
        track(1, 1, 0.9, rows(10, 10, 10)),  # IoU 1
        track(2, 1, 0.8, rows(0, 0, 20)),  # meets nothing
    ]
    # Up to IoU 0.60: found, false, found: recall 1/3 at precision 1, and 2/3 at 2/3. Of the 101
    # recalls, 0.00 to 0.33 are 34, and 0.34 to 0.66 are 33. Above: recall 1/3 at precision 1.
    loose, strict = (34 + 33 * 2 / 3) / 101, 34 / 101
    assert headline(content, results) == pytest.approx(
        {
            'mAP': (3 * loose + 7 * strict) / 10,
            'AP50': loose,
            'AP75': strict,
            'AR1': 1 / 3,  # the best track of video 2 is the false one
            'AR10': (3 * 2 / 3 + 7 * 1 / 3) / 10,
        }
    )


@pytest.mark.parametrize(
    ('masks', 'iou_in_hundredths'),
    [
        (rows(8, 8, 0), 100),
        (rows(8, 0, 0), 50),  # half of the frames
        (rows(0, 8, 8), 33),  # one frame shared of three
        (rows(0, 0, 16), 0),  # no frame shared
        (rows(8, 6, 0), 87),  # 14 / 16, not the mean of 1 and 6 / 8 per frame (also 0.875) ...
        (rows(4, 8, 4), 60),  # ... 12 / 20, where the mean over frames is 0.5
    ],
)
def test_iou_of_tracks(masks, iou_in_hundredths):
    metrics = headline(annotation_file((1, 1, rows(8, 8, 0))), [track(1, 1, 0.5, masks)])
    met = sum(iou_in_hundredths >= percent for percent in range(50, 100, 5))
    assert metrics['mAP'] == pytest.approx(met / 10)
    assert metrics['AP50'] == pytest.approx(float(iou_in_hundredths >= 50))
    assert metrics['AP75'] == pytest.approx(float(iou_in_hundredths >= 75))


def test_crowds_are_neither_missed_nor_false():
    crowd = (1, 1, rows(40, 40, 40, inverse=True), True)
    on_crowd = [track(1, 1, 0.9, crowd[2]), track(1, 1, 0.8, rows(41, 40, 40, inverse=True))]
    results = [*on_crowd, track(1, 1, 0.5, rows(8, 8, 0))]
    metrics = headline(annotation_file(crowd, (1, 1, rows(8, 8, 0))), results)
    assert metrics == pytest.approx({**dict.fromkeys(MAIN_METRICS, 1.0), 'AR1': 0.0})
    # The same tracks are false where the crowd is not annotated.
    metrics = evaluate_tracks(annotation_file((1, 1, rows(8, 8, 0))), results)
    assert metrics['AP50'] == pytest.approx(1 / 3)


def test_reads_files_and_leaves_its_input_alone(tmp_path, capsys):
    content, results = random_case(3)
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(content))
    before = copy.deepcopy((content, results))
    metrics = [evaluate_tracks(source, results) for source in (content, content, path, str(path))]
    assert metrics[1:] == metrics[:1] * 3
    assert (content, results) == before
    assert capsys.readouterr().out == ''


def test_nothing_to_score_against(tmp_path):
    content = data_set({1: 2}, [(1, 1, shown(0, '11'), True)])
    for annotations in (content['annotations'], []):
        with pytest.raises(UserError, match='^no annotated objects'):
            evaluate_tracks({**content, 'annotations': annotations}, [])
    path = tmp_path / 'valid.json'
    path.write_text(json.dumps({key: content[key] for key in ('videos', 'categories')}))
    with pytest.raises(
        UserError, match=r'valid\.json.*nothing to score against.*To score at home, split a valid'
    ):
        evaluate_tracks(path, [])


def test_format_table():
    metrics = {'mAP': 0.12346, 'AP50': 1.0, 'AP75': 0.0, 'AR1': 0.5, 'AR10': 0.99999}
    assert format_table(metrics) == (
        '   mAP    AP50    AP75     AR1    AR10\n0.1235  1.0000  0.0000  0.5000  1.0000'
    )
    # Any of the twelve, and a dash where there is nothing to find.
    assert format_table({**metrics, 'APl': -1.0}, ('APl', 'AP50')) == 'APl    AP50\n  -  1.0000'
