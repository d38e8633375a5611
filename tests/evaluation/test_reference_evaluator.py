"""The twelve metrics, by hand and as mmdet's port of the reference (youtubevos/cocoapi)."""

import contextlib
import copy
import io
import json
from collections import Counter

import pytest
from mmdet.evaluation.functional import YTVIS, YTVISeval

from tests.evaluation.content import encode
from tests.evaluation.scenes import annotation_file, box, decode, random_case, track, truth
from vispropnet.evaluation.average_precision import ALL_METRICS, evaluate_tracks

SEEDS = range(3, 15)


def port_metrics(content, results):
    """From the port. It cannot read uncompressed results, and needs at least one."""
    content, results = copy.deepcopy((content, results))
    with contextlib.redirect_stdout(io.StringIO()):
        objects = YTVIS(content)
        evaluator = YTVISeval(objects, objects.loadRes(results), 'segm')
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return dict(zip(ALL_METRICS, evaluator.stats.tolist(), strict=True))


def metrics_of(content, results):
    """Ours, without the second name of AP."""
    metrics = evaluate_tracks(content, results)
    assert metrics.pop('mAP') == metrics['AP']
    return metrics


def small_file(truths):
    """Videos 1 and 2 with as many frames as the first object; categories 1 to 4."""
    frames = len(truths[0]['segmentations'])
    return annotation_file({1: frames, 2: frames}, (1, 2, 3, 4), truths)


def assert_metrics(content, results, **wanted):
    """Some metrics by hand, and all of them as the port has them."""
    metrics = metrics_of(content, results)
    assert {name: metrics[name] for name in wanted} == pytest.approx(wanted, abs=1e-12)
    if results:
        assert metrics == pytest.approx(port_metrics(content, results), abs=1e-9)


@pytest.mark.parametrize('step', range(10))
def test_an_iou_equal_to_a_threshold_reaches_it(step):
    mask = box(20, 40, 100, 200)
    content = small_file([truth(1, 1, [mask])])
    near = box(20, 40, 100, 10 * (10 + step))  # IoU 0.5 + 0.05 * step
    found = dict.fromkeys(('AP', 'APm', 'AR1'), (step + 1) / 10)
    assert_metrics(content, [track(1, 1, 0.5, [near])], **found, APs=-1)
    near[20, 40] = False
    assert_metrics(content, [track(1, 1, 0.5, [near])], AP=step / 10, AR1=step / 10)


@pytest.mark.parametrize(
    ('area', 'bins'),
    [(16383, 's'), (128**2, 'sm'), (16384.5, 'm'), (65535, 'm'), (256**2, 'ml'), (65536.5, 'l')],
)
def test_both_ends_of_an_area_bin_are_in_it(area, bins):
    masks = [box(0, 0, 20, 20)]
    # The area that counts is the file's, not the mask's.
    content = small_file([truth(1, 1, masks, areas=[area])])
    wanted = {f'A{kind}{name}': float(name in bins) or -1 for kind in 'PR' for name in 'sml'}
    assert_metrics(content, [track(1, 1, 0.5, masks)], AP=1, AR100=1, **wanted)
    # Without tracks, zeros in their place.
    found = [name for name in ALL_METRICS if wanted.get(name) != -1]
    nothing = dict.fromkeys(ALL_METRICS, -1) | dict.fromkeys(found, 0)
    assert_metrics(content, [], **nothing)


def test_of_equal_scores_the_first_in_the_file_comes_first_of_equal_ious_the_last():
    content = small_file([truth(1, 1, [box(0, 0, 9, 9)])])
    right, false = (track(1, 1, 0.5, [box(top, 0, 9, 9)]) for top in (0, 50))
    assert_metrics(content, [right, false], AP=1, AR1=1)
    assert_metrics(content, [false, right], AP=1 / 2, AR1=0, AR10=1)
    # Also as to which are the best hundred.
    assert_metrics(content, [*[false] * 99, right], AP=1 / 100, AR100=1)
    assert_metrics(content, [*[false] * 100, right], AP=0, AR100=0)
    # Of equal IoUs the last object is taken.
    first, last = truth(1, 1, [box(0, 0, 10, 100)]), truth(1, 1, [box(0, 40, 10, 100)])
    between = track(1, 1, 0.9, [box(0, 20, 10, 100)])  # IoU 80 / 120 with both
    on_first = track(1, 1, 0.5, [box(0, 0, 10, 100)])  # and 60 / 140 with the other
    assert_metrics(small_file([first, last]), [between, on_first], AP50=1)
    # Recall 1/2 at precision 1: 0.00 to 0.50 are 51 of 101 recalls.
    assert_metrics(small_file([last, first]), [between, on_first], AP50=51 / 101)


@pytest.mark.parametrize('seed', SEEDS)
def test_equals_the_port(seed):
    content, results = random_case(seed)
    assert metrics_of(content, results) == pytest.approx(port_metrics(content, results), abs=1e-9)


def test_the_random_cases_have_what_they_should():
    metrics = [metrics_of(*random_case(seed)) for seed in SEEDS]
    for name in ALL_METRICS:
        assert sum(0 < one[name] < 1 for one in metrics) >= 6, name
    results = random_case(SEEDS[0])[1]
    places = Counter((entry['video_id'], entry['category_id'], entry['score']) for entry in results)
    assert places.total() > 100 and max(places.values()) > 5  # ties, and more than count
    areas = {decode(rle).sum() for entry in results for rle in entry['segmentations']}
    assert areas >= {0, 128**2, 256**2}


def test_what_plays_no_part():
    """Ids, further keys, the order of videos and categories, the form of counts, masks' areas."""
    content, results = json.loads(json.dumps(random_case(0)))
    wanted = metrics_of(content, results)
    content['videos'].reverse()
    content['categories'].reverse()
    for number, entry in enumerate(content['annotations']):
        entry['id'] = number  # one is 0, which the reference evaluator does not find
        if not entry['iscrowd']:
            del entry['iscrowd']
    for number, entry in enumerate(results):
        entry['propagated'] = []
        form, masks = ('text', 'bytes', 'runs')[number % 3], entry['segmentations']
        entry['segmentations'] = [rle and encode(decode(rle), form) for rle in masks]
    assert metrics_of(content, results) == wanted
    for entry in content['annotations']:
        entry['areas'] = [int(decode(rle).sum()) for rle in entry['segmentations']]
    wanted = metrics_of(content, results)
    for number, entry in enumerate(content['annotations']):
        entry['areas'] = None
        if number % 2:
            del entry['areas']
    assert metrics_of(content, results) == wanted
