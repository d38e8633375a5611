import warnings

import numpy as np
import pytest

from tests.evaluation.content import matched, repeated_metrics, track
from tests.evaluation.strips import data_set, random_case, shown, strip
from vispropnet.evaluation.average_precision import (
    ALL_METRICS,
    evaluate_tracks,
    plain_metrics,
    weighted_metrics,
)
from vispropnet.evaluation.confidence import confidence_intervals as intervals_of
from vispropnet.evaluation.confidence import paired_differences, resample_videos
from vispropnet.evaluation.ground_truth import GroundTruth, VideoTruth
from vispropnet.evaluation.matching import area_bins, match_tracks
from vispropnet.evaluation.overlaps import Tracks


def percentile(values, share):
    """Between the two values next to that place in the order, in proportion."""
    values = sorted(values)
    low, rest = divmod(share * (len(values) - 1), 1)
    low, high = values[int(low)], values[min(int(low) + 1, len(values) - 1)]
    return low + rest * (high - low)


def ends_around(metric, values):
    """2.5 and 97.5 % of the values, moved so that their mean is the metric, around the metric."""
    shift = metric - sum(values) / len(values)
    low, high = percentile(values, 0.025) + shift, percentile(values, 0.975) + shift
    return min(low, metric), max(high, metric)


def test_resampled_data_sets_have_as_many_videos_each_drawn_as_often():
    weights = resample_videos(5, 20000, seed=3)
    assert (weights.shape, weights.dtype) == ((20000, 5), np.float64)
    assert (weights.sum(axis=1) == 5).all()
    # A binomial of 5 draws at 1/5: mean 1, variance 0.8; left out with probability 0.8 ** 5.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=4 * (0.8 / 20000) ** 0.5)
    np.testing.assert_allclose(weights.var(axis=0), 0.8, atol=0.04)
    np.testing.assert_allclose((weights == 0).mean(axis=0), 0.8**5, atol=0.014)
    assert (weights == resample_videos(5, 20000, seed=3)).all()
    assert (weights != resample_videos(5, 20000)).any()


@pytest.mark.parametrize('seed', range(3))
def test_intervals_and_differences_are_those_of_repeated_videos(seed):
    content, results = random_case(seed)
    more = [entry for entry in random_case(100 + seed)[1] if entry['video_id'] != 4][:3]
    both, weights = (results, results[::2] + more), resample_videos(5, 15, seed)
    values = [[repeated_metrics(content, one, row) for one in both] for row in weights]
    metrics = [evaluate_tracks(content, one) for one in both]
    intervals = intervals_of(matched(content, results), weights)
    differences = paired_differences(*(matched(content, one) for one in both), weights)
    assert list(intervals) == list(ALL_METRICS)
    for name in ALL_METRICS:
        difference, value = differences[name], metrics[0][name]
        if value < 0:
            assert intervals[name] is difference is None
            continue
        present = [(one[name], other[name]) for one, other in values if one[name] >= 0]
        low, high = ends_around(value, [one for one, _ in present])
        assert intervals[name] == pytest.approx((max(low, 0), min(high, 1)), abs=1e-9)
        value -= metrics[1][name]
        apart = [one - other for one, other in present]
        shift = value - sum(apart) / len(apart)
        assert difference['value'] == pytest.approx(value)
        assert difference['ci'] == pytest.approx(ends_around(value, apart), abs=1e-9)
        share = sum(one + shift > 1e-12 for one in apart) / len(apart)
        assert difference['above_zero'] == pytest.approx(share)


ALWAYS = shown(0, '11')
FOUND, FALSE = track(1, 1, 0.5, ALWAYS), track(2, 1, 0.9, ALWAYS)
# Two videos with an object in each, or in the first alone.
EACH, FIRST = (data_set({1: 2, 2: 2}, [(one, 1, ALWAYS) for one in ids]) for ids in ((1, 2), (1,)))


def test_an_interval_by_hand_is_moved_onto_its_metric_and_never_off_it():
    # A found object, and in video 2 a false track with a higher score. AP is 1/2 with both videos
    # and 1 with the first alone: the case of one resample in 100, whose mean is 0.505.
    weights = np.array([[1.0, 1.0]] * 99 + [[2.0, 0.0]])
    interval = intervals_of(matched(FIRST, [FOUND, FALSE]), weights, ['AP'])['AP']
    assert interval == pytest.approx((0.495, 0.5)) and interval[1] >= 0.5
    # An object in each, the first found: AR100 is 1/2, and 0 with the second alone.
    weights[-1] = [0, 2]
    interval = intervals_of(matched(EACH, [FOUND]), weights, ['AR100'])['AR100']
    assert interval == pytest.approx((0.5, 0.505)) and interval[0] <= 0.5
    # One object in each of two videos, of which the first is found: AR100 is 1/2. The resamples
    # have 1 or 0 or 1/2, in mean 0.7; moved by -0.2.
    weights, matches = np.array([[2.0, 0.0]] * 2 + [[1.0, 1.0]] * 3), matched(EACH, [FOUND])
    # Of the five in order, 0.5, 0.5, 0.5, 1, 1: 2.5 % is the first, 97.5 % the last.
    assert intervals_of(matches, weights, ['AR100'])['AR100'] == pytest.approx((0.3, 0.8))
    # The mean with a result that finds nothing: half of all that.
    both = intervals_of([matches, matched(EACH, [])], weights, ['AR100'])
    assert both['AR100'] == pytest.approx((0.15, 0.4))
    # Moved by a sixth beyond 1, and beyond 0.
    weights = np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    for one, ends in ((weights, (1 / 6, 1)), (2 - weights, (0, 5 / 6))):
        assert intervals_of(matches, one, ['AR100'])['AR100'] == pytest.approx(ends)


def test_one_video_and_resamples_without_objects_tell_nothing():
    matches, weights = matched(data_set({1: 2}, [(1, 1, ALWAYS)]), [FOUND]), resample_videos(1, 10)
    assert intervals_of(matches, weights) == dict.fromkeys(ALL_METRICS)
    assert paired_differences(matches, matches, weights) == dict.fromkeys(ALL_METRICS)
    # Only video 1 has an object; it was never drawn.
    matches, weights = matched(FIRST, [FOUND]), np.array([[0.0, 2.0]])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert intervals_of(matches, weights)['AP'] is None
        assert paired_differences(matches, matches, weights)['AP'] is None


# 30 videos with an object each.
THIRTY = data_set(dict.fromkeys(range(30), 2), [(video, 1, ALWAYS) for video in range(30)])


def found_in_thirty(shares):
    """Matches of one track a video: that share of its object's 10 pixels is found, or nothing."""
    masks = ([strip(0, round(10 * share))] * 2 for share in shares)
    results = [track(video, 1, 0.5, some) for video, some in enumerate(masks) if some[0]]
    return matched(THIRTY, results)


def test_differences_by_hand():
    # Of the thresholds 0.50 to 0.95, an IoU of 0.8 reaches 7, in every resample.
    all_found, most_found = found_in_thirty([1.0] * 30), found_in_thirty([0.8] * 30)
    weights = resample_videos(30, 50)
    for pair, gain in ((all_found, most_found), 0.3), ((most_found, all_found), -0.3):
        differences = paired_differences(*pair, weights, ('AP', 'AR1', 'AR100'))
        for one in differences.values():
            assert (one['value'], *one['ci']) == pytest.approx((gain, gain, gain))
            assert one['above_zero'] == (gain > 0)
    equal = [found_in_thirty([1.0, 0.7, 0.0] * 10) for _ in range(2)]
    differences = paired_differences(*equal, weights)
    for name in ('AP', 'AP50', 'AR1', 'APs', 'ARs'):
        assert differences[name] == dict(value=0, ci=[0, 0], above_zero=0)
    assert differences['APm'] is differences['ARl'] is None


def simulated_tracks(rng, videos, categories):
    """Videos without masks, some harder than others; several objects, mostly of one category."""
    entries, objects, found = [], [], []
    for video in range(videos):
        count, main = rng.integers(1, 5), rng.integers(categories)
        own = np.where(rng.random(count) < 0.7, main, rng.integers(categories, size=count))
        hardness = rng.normal(0, 0.15)
        places = len(objects) + np.arange(count)
        entries.append(VideoTruth({'id': video}, places, [], np.zeros((count, 1), np.int64)))
        objects += [(video, label) for label in own.tolist()]
        for column in range(count):
            for duplicate in range(1 + (rng.random() < 0.3)):
                iou = np.clip(0.7 + hardness + rng.normal(0, 0.2) - 0.25 * duplicate, 0, 0.99)
                label = own[column] if rng.random() < 0.85 else rng.integers(categories)
                ious = np.where(np.arange(count) == column, iou, 0) * (own == label)
                found.append((video, label, 0.7 * iou + rng.normal(0, 0.2), ious))
        for _ in range(rng.poisson(4)):
            label = main if rng.random() < 0.5 else rng.integers(categories)
            found.append((video, label, rng.normal(0.25, 0.15), np.zeros(count)))
    truth = GroundTruth(
        entries,
        video_index={},
        category_ids=list(range(categories)),
        category_names=[],
        **dict(zip(('video', 'category'), np.array(objects).T, strict=True)),
        **dict(crowd=np.zeros(len(objects), bool), hidden=np.zeros(len(objects))),
        **dict(area=np.full(len(objects), 10.0), length=np.ones(len(objects), np.int64)),
    )
    video, category, score, ious = map(list, zip(*found, strict=True))
    area, length = np.full(len(found), 10.0), np.ones(len(found), np.int64)
    score = np.clip(score, 0, 1)
    return Tracks(truth, np.array(video), np.array(category), score, area, length, ious, None)


@pytest.mark.long
@pytest.mark.parametrize(('videos', 'categories', 'sets'), [(100, 20, 500), (300, 40, 150)])
def test_intervals_hold_the_metric_of_other_videos(videos, categories, sets):
    names = ('AP', 'AP50', 'AR10')
    rng = np.random.default_rng(0)
    metrics, moved, unmoved = [], [], []
    for number in range(sets):
        tracks = simulated_tracks(rng, videos, categories)
        matches = match_tracks(tracks, area_bins(tracks))
        weights = resample_videos(videos, 200, seed=number)
        all_metrics = plain_metrics(matches)
        metrics.append([all_metrics[name] for name in names])
        intervals = intervals_of(matches, weights, names)
        moved.append([intervals[name] for name in names])
        values = weighted_metrics(matches, weights, names)
        unmoved.append([np.percentile(values[name], [2.5, 97.5]) for name in names])
    metrics, moved, unmoved = np.array(metrics), np.array(moved), np.array(unmoved)
    mean = metrics.mean(axis=0)
    covered, before, own = (
        ((ends[..., 0] <= held) & (held <= ends[..., 1])).mean(axis=0)
        for ends, held in ((moved, mean), (unmoved, mean), (moved, metrics))
    )
    print(f'{names}, mean {mean}: the moved intervals hold it in {covered}, others in {before}')
    assert (covered >= 0.88).all() and (own == 1).all()
    # Repeated videos help AP; recall they do not.
    assert covered[0] - before[0] > 0.01
    assert covered[1] >= before[1]
    assert abs(covered[2] - before[2]) < 0.02
