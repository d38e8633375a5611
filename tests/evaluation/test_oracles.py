import copy

import numpy as np
import pytest

from tests.evaluation.content import encode
from tests.evaluation.strips import data_set, random_case, shown, strip, track
from vispropnet.errors import UserError
from vispropnet.evaluation.ground_truth import ground_truth
from vispropnet.evaluation.oracles import ORACLES, mend_results, oracle_metrics


def mended(truths, results, oracle, length=3):
    truth = ground_truth(data_set({1: length}, [(1, *one) for one in truths]))
    before = copy.deepcopy(results)
    found = mend_results(truth, results, oracle)
    assert results == before
    return [(one['category_id'], one['score'], one['segmentations']) for one in found]


def strips(row, *pixels):
    return [strip(row, one) for one in pixels]


def test_masks_on_objects_become_theirs():
    truths = [(1, strips(0, 10, 10, 10)), (2, strips(1, 8, 8, 8))]
    # The second frame is on no object by less than a tenth, the third on the second object.
    masks = [strip(0, 4), strip(5, 3), strip(1, 2)]
    results = [track(1, 1, 0.5, masks)]
    assert mended(truths, results, 'masks') == [(1, 0.5, [strip(0), strip(5, 3), strip(1, 8)])]


def test_propagation_belongs_on_the_object_of_the_detected_masks():
    truths = [(1, strips(0, 9, 9, 9, 9, 0, 9, 9, 9)), (2, strips(1, 8, 8, 8, 8, 8, 8, 8, 8))]
    # Detected on the first object twice, on the second once; then propagated onto nothing, onto
    # the second, onto the first; missing; detected.
    detected = [None, strip(0, 8), strip(0, 7), strip(1, 5)]
    propagated = [strip(5, 3), strip(1, 4), strip(0, 6)]
    masks = [*detected, *propagated, None]
    results = [track(1, 1, 0.5, masks)]

    def found(oracle):
        ((_, score, segmentations),) = mended(truths, results, oracle, 8)
        assert score == 0.5
        return segmentations

    assert found('propagated-masks') == found('propagated-places') == masks
    assert found('propagation') == [*masks[:7], strip(0, 9)]
    results[0]['propagated'] = [False] * 4 + [True] * 3 + [False]
    assert found('propagated-masks') == [*detected, *propagated[:2], strip(0, 9), None]
    assert found('propagated-places') == [*detected, None, None, propagated[2], None]
    # The object is hidden in the first of these frames.
    assert found('propagation') == [*detected, None, *strips(0, 9, 9, 9)]
    # Of no pixel is as good as none.
    empty = dict(size=[8, 10], counts=encode(np.zeros((8, 10), bool))['counts'])
    results[0]['segmentations'] = [*masks[:7], empty]
    assert found('propagation') == [*detected, None, *strips(0, 9, 9, 9)]
    # A track on no object: what it propagates belongs nowhere.
    results = [{**track(1, 1, 0.5, [strip(5, 2), *strips(0, *[9] * 7)])}]
    results[0]['propagated'] = [False] + [True] * 7
    assert found('propagated-masks') == results[0]['segmentations']
    assert found('propagated-places') == found('propagation') == [strip(5, 2), *[None] * 7]


def test_a_mask_is_on_an_object_from_a_tenth_on():
    truths = [(1, strips(0, 10, 10, 10))]
    results = [track(1, 1, 0.5, [strip(0, 1), None, None])]
    assert mended(truths, results, 'masks') == [(1, 0.5, [strip(0), None, None])]
    crowd = [(1, strips(0, 10, 10, 10), True), (1, strips(3, 1, 1, 1))]
    assert mended(crowd, results, 'masks') == [(1, 0.5, [strip(0, 1), None, None])]


def test_linking_gathers_the_best_masks_of_an_object():
    truths = [(1, strips(0, 10, 10, 10)), (2, strips(1, 10, 10, 10))]
    results = [
        track(1, 1, 0.9, [strip(0, 6), strip(1, 5), None]),
        track(1, 2, 0.3, [strip(0, 5), strip(0, 7), strip(0, 8)]),
        track(1, 2, 0.8, [strip(6, 3), None, None]),
    ]
    first = (1, pytest.approx((0.9 + 0.3 + 0.3) / 3), [strip(0, 6), strip(0, 7), strip(0, 8)])
    second = (1, 0.9, [None, strip(1, 5), None])
    # What is not the best, or on no object, stays; the first track has nothing left.
    left = [(2, 0.3, [strip(0, 5), None, None]), (2, 0.8, [strip(6, 3), None, None])]
    assert mended(truths, results, 'linking') == [first, second, *left]


def test_detections_are_complete_and_once():
    truths = [(1, strips(0, 10, 10, 10)), (2, strips(1, 9, 0, 9)), (2, strips(2, 0, 7, 7))]
    results = [
        track(1, 1, 0.9, [None, strip(0, 6), None]),
        track(1, 1, 0.5, [strip(5, 3), strip(0, 5), None]),
        track(1, 1, 0.4, [strip(1, 4), None, strip(2, 6)]),
    ]
    assert mended(truths, results, 'detections') == [
        # Before and after its only frame.
        (1, 0.9, [strip(0), strip(0, 6), strip(0)]),
        # For the first of its objects its place in the last frame is taken.
        (1, 0.4, [strip(1, 4), strip(2, 7), strip(2, 6)]),
    ]
    found = [(1, 1.0, strips(0, 10, 10, 10)), (2, 1.0, strips(1, 9, 0, 9))]
    assert mended(truths[:2], [], 'detections') == found


def test_videos_with_nothing():
    truths = [(1, shown(0, '100'))]
    assert mended(truths, [], 'linking') == mended(truths, [], 'masks') == []
    content = data_set({1: 1, 2: 2}, [(1, 1, [strip(0)])])
    results = [track(2, 1, 0.5, [strip(0), None])]
    truth = ground_truth(content)
    for oracle, count in zip(ORACLES, (1, 1, 1, 1, 1, 1), strict=True):
        assert len(mend_results(truth, results, oracle)) == count
    assert mend_results(truth, results, 'detections')[0]['video_id'] == 1


@pytest.mark.parametrize('seed', range(6))
def test_all_oracles_in_turn_leave_nothing_wrong_but_categories_and_scores(seed):
    content, results = random_case(seed)
    for one in content['annotations']:
        one.pop('areas')
    truth = ground_truth(content)
    for oracle in ('detections', 'linking', 'masks'):
        results = mend_results(truth, results, oracle)
    wanted = {}
    for one in content['annotations']:
        wanted[one['video_id'], str(one['segmentations'])] = 1
    assert {(one['video_id'], str(one['segmentations'])) for one in results} == set(wanted)
    assert len(results) == len(wanted)


def test_metrics():
    truths = [(1, 1, strips(0, 10, 10, 10)), (1, 1, strips(1, 10, 10, 10))]
    results = [track(1, 1, 0.9, strips(0, 6, 6, 6))]
    metrics = oracle_metrics(ground_truth(data_set({1: 3}, truths, (1,))), results)
    assert list(metrics) == list(ORACLES)
    # Recall 1/2 at all thresholds is 51 of 101 points.
    assert metrics['masks']['AP'] == pytest.approx(51 / 101)
    assert metrics['detections']['AR10'] == pytest.approx((3 * 1 + 7 * 0.5) / 10)


def test_tracks_in_frames_that_are_not_annotated_are_left_out():
    # Only the first of two frames shows an object.
    truth = ground_truth(data_set({1: 2}, [(1, 1, strips(0, 10, 0))]), '', annotated_only=True)
    results = [track(1, 1, 0.9, strips(0, 0, 5)), track(1, 2, 0.5, strips(0, 6, 0))]
    (found,) = mend_results(truth, results, 'masks')
    assert (found['score'], found['segmentations']) == (0.5, strips(0, 10, 0))


@pytest.mark.parametrize('propagated', ['yes', [True]])
def test_propagated_that_is_no_list_of_all_frames(propagated):
    results = [{**track(1, 1, 0.5, shown(0, '111')), 'propagated': propagated}]
    with pytest.raises(UserError, match="video 1, result entry 0: 'propagated' (must be|has 1)"):
        mended([(1, shown(0, '111'))], results, 'masks')


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match='oracle must be one of masks, .*linking, det.* got 3'):
        mended([(1, shown(0, '111'))], [], 3)
    with pytest.raises(UserError, match='video 1, result entry 0: .*3'):
        mended([(1, shown(0, '111'))], [track(1, 1, 0.5, [strip(0)])], 'masks')
