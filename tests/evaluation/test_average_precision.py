"""Weightings of the videos, the curve of precision over recall, and what is done with the input."""

import copy
import json

import numpy as np
import pytest

from tests.evaluation.content import matched, repeated_metrics
from tests.evaluation.scenes import annotation_file, box, track, truth
from tests.evaluation.strips import data_set, random_case, shown
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import (
    ALL_METRICS,
    RECALLS,
    evaluate_tracks,
    format_table,
    interpolated_precision,
    weighted_metrics,
)

# --- weighting ------------------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(4))
def test_a_weight_repeats_the_video(seed, monkeypatch):
    monkeypatch.setattr('vispropnet.evaluation.average_precision._BLOCK', (256, 7)[seed % 2])
    content, results = random_case(seed)
    # Equal scores in different videos, none in the same one.
    seen = dict.fromkeys((entry['video_id'] for entry in results), 0)
    for entry in results:
        seen[entry['video_id']] += 1
        entry['score'] = 1 - seen[entry['video_id']] / 256
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, (11, 5)) * 1.0
    weights[-2:] = [[1], [0]]
    matches = matched(content, results)
    wanted = [repeated_metrics(content, results, row) for row in weights]
    # Only the proportions matter.
    for factor in (1, 1000, 1 / 1024):
        values = weighted_metrics(matches, weights * factor)
        assert list(values) == list(ALL_METRICS)
        for name in ALL_METRICS:
            numbers = [row[name] for row in wanted]
            assert values[name] == pytest.approx(numbers, nan_ok=True, abs=1e-12)
            assert np.isnan(values[name][-1])


def test_of_equal_scores_in_one_video_the_copies_of_the_first_track_come_first():
    mask = box(0, 0, 9, 9)
    content = annotation_file({1: 1}, (1,), [truth(1, 1, [mask])])
    right, false = track(1, 1, 0.5, [mask]), track(1, 1, 0.5, [box(50, 0, 9, 9)])
    # Copies of the video would alternate: found, false, found, false.
    for results, wanted in ([right, false], 1), ([false, right], 1 / 2):
        metrics = weighted_metrics(matched(content, results), np.array([[1], [2], [3.0]]))
        assert metrics['AP'] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ('true', 'false', 'positives', 'wanted'),
    [
        ([1], [0], 1, 1),
        ([1], [1], 1, 1 / 2),
        # Recall 1/4 at precision 1 (0.00 to 0.25), 1/2 at precision 1/2 (0.26 to 0.50).
        ([1, 2], [0, 2], 4, (26 + 25 / 2) / 101),
        # Precision 1/2, then 2/3: the higher one also counts for lower recalls.
        ([1, 2], [1, 1], 4, 51 * 2 / 3 / 101),
        # 1/2, 2/3, 3/6, 4/7 at recalls 1/5 to 4/5.
        ([1, 2, 3, 4], [1, 1, 3, 3], 5, (41 * 2 / 3 + 40 * 4 / 7) / 101),
        # The first video has weight 0, the second 2.
        ([0, 2], [0, 0], 2, 1),
        ([0, 2, 2], [3, 3, 3], 2, 2 / 5),
        ([0, 0], [0, 1], 3, 0),
        ([], [], 3, 0),
        ([], [], 0, np.nan),
        ([0], [1], 0, np.nan),
    ],
)
def test_interpolated_precision_by_hand(true, false, positives, wanted):
    parts = np.array([true], float), np.array([false], float), np.array([positives], float)
    assert interpolated_precision(*parts) == pytest.approx([wanted], nan_ok=True, abs=1e-12)


def test_every_recall_that_is_a_fraction_reaches_what_it_should():
    found, count = (part.ravel() for part in np.mgrid[0:301, 1:301].astype(float))
    found, count = found[found <= count], count[found <= count]
    values = interpolated_precision(found[:, None], np.zeros((len(found), 1)), count)
    # At precision 1 the average is the share of recalls that are reached; none without a find.
    reached = np.searchsorted(RECALLS, found / count, side='right') * (found > 0)
    assert np.array_equal(np.rint(values * 101), reached)
    assert values == pytest.approx(reached / 101, abs=1e-12)


def test_reads_files_and_leaves_its_input_alone(tmp_path, capsys):
    content, results = random_case(3)
    (path := tmp_path / 'truth.json').write_text(json.dumps(content))
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
    del content['annotations']
    (path := tmp_path / 'valid.json').write_text(json.dumps(content))
    message = r'valid\.json.*nothing to score against.*To score at home, split a valid'
    with pytest.raises(UserError, match=message):
        evaluate_tracks(path, [])


def test_format_table():
    metrics = {'mAP': 0.12346, 'AP50': 1.0, 'AP75': 0.0, 'AR1': 0.5, 'AR10': 0.99999}
    assert format_table(metrics) == (
        '   mAP    AP50    AP75     AR1    AR10\n0.1235  1.0000  0.0000  0.5000  1.0000'
    )
    # Any of the twelve, and a dash where there is nothing to find.
    assert format_table({**metrics, 'APl': -1.0}, ('APl', 'AP50')) == 'APl    AP50\n  -  1.0000'
