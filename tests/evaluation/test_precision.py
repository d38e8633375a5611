"""Weighting videos, against data sets in which they are repeated."""

import numpy as np
import pytest

from tests.evaluation.scenes import annotation_file, box, random_case, track, truth
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import (
    FIGURES,
    evaluate_tracks,
    plain_figures,
    weighted_figures,
)
from vispropnet.evaluation.ground_truth import ground_truth
from vispropnet.evaluation.matching import area_bins, match_tracks
from vispropnet.evaluation.overlaps import measure_tracks
from vispropnet.evaluation.precision import (
    RECALLS,
    average_precisions,
    interpolated_precision,
    recalls,
)

# Comes from inside pycocotools at each call of decode.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


def matched(content, results):
    tracks = measure_tracks(ground_truth(content), results)
    return match_tracks(tracks, area_bins(tracks))


def repeated(content, results, weights):
    """Each video as often as its weight says, the copies side by side in the order of the ids."""
    copies = {
        video['id']: [10 * video['id'] + copy for copy in range(weight)]
        for video, weight in zip(
            sorted(content['videos'], key=lambda video: video['id']), weights, strict=True
        )
    }

    def multiplied(entries, key):
        return [{**entry, key: copy} for entry in entries for copy in copies[entry[key]]]

    annotations = multiplied(content['annotations'], 'video_id')
    parts = {
        **content,
        'videos': multiplied(content['videos'], 'id'),
        'annotations': [{**one, 'id': number} for number, one in enumerate(annotations)],
    }
    return parts, multiplied(results, 'video_id')


def figures_of_repeated(content, results, weights):
    """NaN where there is nothing to find, also at all."""
    try:
        figures = evaluate_tracks(*repeated(content, results, weights))
    except UserError as error:
        assert 'no annotated objects' in str(error) or 'there are no videos' in str(error)
        return dict.fromkeys(FIGURES, np.nan)
    return {name: figures[name] if figures[name] != -1 else np.nan for name in FIGURES}


def without_ties_in_videos(results):
    """Other scores: equal ones in different videos, none in the same video and category."""
    seen = {}
    changed = []
    for result in results:
        here = result['video_id'], result['category_id']
        seen[here] = seen.get(here, 0) + 1
        changed.append({**result, 'score': 1 - seen[here] / 256})
    return changed


# --- weighting ------------------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(6))
def test_a_weight_repeats_the_video(seed):
    content, results = random_case(seed)
    results = without_ties_in_videos(results)
    rng = np.random.default_rng(seed)
    videos = len(content['videos'])
    weights = np.concatenate(
        [
            rng.integers(0, 4, (5, videos)),
            rng.multinomial(videos, [1 / videos] * videos, 5),  # resampled, as in a bootstrap
            np.eye(videos, dtype=int)[rng.integers(0, videos, 2)],
            np.ones((1, videos), int),
            np.zeros((1, videos), int),
        ]
    )
    values = weighted_figures(matched(content, results), weights.astype(float))
    assert list(values) == list(FIGURES)
    wanted = [figures_of_repeated(content, results, row.tolist()) for row in weights]
    for name in FIGURES:
        assert values[name] == pytest.approx([row[name] for row in wanted], nan_ok=True, abs=1e-12)
        assert np.isnan(values[name][-1])


def test_categories_that_vanish_are_left_out():
    mask = box(0, 0, 9, 9)
    content = annotation_file(
        {1: 1, 2: 1}, (1, 2), [truth(1, 1, [mask]), truth(2, 2, [mask]), truth(2, 2, [mask])]
    )
    matches = matched(content, [track(1, 1, 0.5, [mask]), track(2, 1, 0.9, [mask])])
    weights = np.array([[1, 1], [1, 0], [0, 1], [3, 1], [1, 3], [0, 0]], float)
    # Category 1: a true track behind a false one; category 2: nothing found.
    wanted = {
        'AP': [1 / 4, 1, 0, (3 / 4) / 2, (1 / 4) / 2, np.nan],
        'AR1': [1 / 2, 1, 0, 1 / 2, 1 / 2, np.nan],
        'APm': [np.nan] * 6,
    }
    values = weighted_figures(matches, weights, tuple(wanted))
    assert list(values) == list(wanted)
    for name, numbers in wanted.items():
        assert values[name] == pytest.approx(numbers, nan_ok=True), name
    plain = plain_figures(matches)
    assert (plain['AP'], plain['AR1'], plain['APm']) == (pytest.approx(1 / 4), 1 / 2, -1)


def test_per_category_and_threshold():
    mask, near = box(0, 0, 10, 10), box(0, 0, 10, 7)
    content = annotation_file({1: 1, 2: 1}, (5, 3, 4), [truth(1, 5, [mask]), truth(2, 5, [mask])])
    content['annotations'] += [{**truth(1, 3, [mask], iscrowd=1), 'id': 9}]
    results = [track(1, 5, 0.9, [near]), track(2, 5, 0.5, [mask])]
    matches = matched(content, results)
    # Categories in the order of their ids: 3 has a crowd only, 4 nothing.
    values = average_precisions(matches, np.array([[1, 1], [3, 1.0]]))
    found = recalls(matches, np.array([[1, 1], [3, 1.0]]))
    assert values.shape == found.shape == (2, 3, 10)
    assert np.isnan(values[:, :2]).all()
    assert np.isnan(found[:, :2]).all()
    assert values[:, 2, :5] == pytest.approx(np.ones((2, 5)))  # up to IoU 0.7
    assert found[:, 2, :5] == pytest.approx(np.ones((2, 5)))
    # Above, one of two found behind a false one; and one of four behind three.
    assert values[0, 2, 5:] == pytest.approx([51 / 101 / 2] * 5)
    assert values[1, 2, 5:] == pytest.approx([26 / 101 / 4] * 5)
    assert found[:, 2, 5:] == pytest.approx(np.array([[1 / 2] * 5, [1 / 4] * 5]))


def test_of_equal_scores_in_one_video_the_copies_of_the_first_track_come_first():
    mask = box(0, 0, 9, 9)
    content = annotation_file({1: 1}, (1,), [truth(1, 1, [mask])])
    right, false = track(1, 1, 0.5, [mask]), track(1, 1, 0.5, [box(50, 0, 9, 9)])
    weights = np.array([[1], [2], [3.0]])
    # Copies of the video would alternate: found, false, found, false.
    assert weighted_figures(matched(content, [right, false]), weights)['AP'] == pytest.approx(1)
    assert weighted_figures(matched(content, [false, right]), weights)['AP'] == pytest.approx(1 / 2)


@pytest.mark.parametrize('seed', range(2))
def test_many_weightings_at_once_are_those_one_by_one(seed, monkeypatch):
    content, results = random_case(seed)
    matches = matched(content, results)
    weights = np.random.default_rng(seed).integers(0, 3, (40, len(content['videos']))) * 1.0
    at_once = weighted_figures(matches, weights)
    # Only the proportions matter.
    many = weighted_figures(matches, 1000 * weights)
    few = weighted_figures(matches, weights / 1024)
    monkeypatch.setattr('vispropnet.evaluation.precision._BLOCK', 7)
    in_blocks = weighted_figures(matches, weights)
    for name in FIGURES:
        one_by_one = [weighted_figures(matches, row[None], (name,))[name][0] for row in weights]
        assert at_once[name] == pytest.approx(one_by_one, nan_ok=True, abs=1e-12)
        assert in_blocks[name] == pytest.approx(one_by_one, nan_ok=True, abs=1e-12)
        assert many[name] == pytest.approx(one_by_one, nan_ok=True, abs=1e-12)
        assert few[name] == pytest.approx(one_by_one, nan_ok=True, abs=1e-9)


# --- precision ------------------------------------------------------------------------------------


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


def test_interpolated_precision_equals_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(300):
        steps = int(rng.integers(0, 12))
        true = np.cumsum(rng.integers(0, 3, (2, steps)), axis=1)
        false = np.cumsum(rng.integers(0, 3, (2, steps)), axis=1)
        positives = true[:, -1:].sum(axis=1) + rng.integers(0, 5, 2)
        wanted = []
        for row in range(2):
            points = [
                (t / positives[row], t / (t + f))
                for t, f in zip(true[row], false[row], strict=True)
                if t
            ]
            highest = [max([p for r, p in points if r >= at], default=0) for at in RECALLS]
            wanted.append(np.mean(highest) if positives[row] else np.nan)
        values = interpolated_precision(true * 1.0, false * 1.0, positives * 1.0)
        assert values == pytest.approx(wanted, nan_ok=True, abs=1e-12)
