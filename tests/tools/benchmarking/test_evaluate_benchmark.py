import copy
import json
import math
from collections import Counter
from unittest.mock import Mock

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from benchmarking import evaluate
from benchmarking.evaluate import benchmark, make, metric_difference, track_set
from benchmarking.settings import EvaluateSettings as Settings
from benchmarking.track_sets import draw_track_set
from vispropnet.errors import UserError
from vispropnet.evaluation.average_precision import ALL_METRICS

# Comes from inside pycocotools at each call of decode.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

SMALL = dict(videos=4, frames=5, size=(96, 64), tracks=(3, 8), categories=3)
SMALL.update(resamples=20, memory=False)


def draw(**change):
    return draw_track_set(Settings(**{**SMALL, **change}))


def test_the_set_has_the_form_of_youtube_vis():
    found = draw(videos=12, frames=10)
    assert found == draw(videos=12, frames=10) != draw(videos=12, frames=10, seed=1)
    videos = {video['id']: video for video in found.annotations['videos']}
    assert list(videos) == list(range(1, 13))
    for video in videos.values():
        assert 8 <= video['length'] == len(set(video['file_names'])) <= 12
        assert (video['width'], video['height']) == (96, 64)
    entries = found.annotations['annotations']
    # An object with id 0 cannot be found by the reference evaluator.
    assert [entry['id'] for entry in entries] == list(range(1, len(entries) + 1))
    assert set(Counter(entry['video_id'] for entry in entries).values()) <= set(range(1, 6))
    for entry in entries:
        parts = [entry[key] for key in ('segmentations', 'areas', 'bboxes')]
        assert [len(part) for part in parts] == [videos[entry['video_id']]['length']] * 3
        for rle, area, box in zip(*parts, strict=True):
            if rle is None:
                assert area is None and box is None
                continue
            mask = mask_utils.decode(rle)
            assert mask.shape == (64, 96) and rle['size'] == [64, 96] and area == mask.sum()
            rows, columns = mask.nonzero()
            if area:
                sides = [np.ptp(columns) + 1, np.ptp(rows) + 1]
                assert box == [columns.min(), rows.min(), *sides]
    # It is also what a file would hold.
    content = [found.annotations, found.results]
    assert json.loads(json.dumps(content)) == content


def test_the_tracks_fit_their_videos_and_share_masks():
    found = draw(videos=12, frames=10)
    lengths = {video['id']: video['length'] for video in found.annotations['videos']}
    per_video = Counter(track['video_id'] for track in found.results)
    assert per_video.keys() == lengths.keys() and set(per_video.values()) <= set(range(3, 9))
    for one in (*found.results, *found.annotations['annotations']):
        assert len(one['segmentations']) == lengths[one['video_id']]
        assert one['category_id'] in (1, 2, 3) and any(one['segmentations'])
    ends = [None in (one['segmentations'][0], one['segmentations'][-1]) for one in found.results]
    assert 0.3 < np.mean(ends) < 0.8
    counted = evaluate.describe(found)
    masks = [mask for track in found.results for mask in track['segmentations'] if mask]
    assert counted['masks'] == len(masks) > counted['distinct_masks'] > len(found.results)
    # As if they were read from a file.
    for parts in (masks, [one['counts'] for one in masks], [one['size'] for one in masks]):
        assert len({id(one) for one in parts}) == len(masks)
    assert counted['tracks'] == len(found.results) and counted['frames'] == sum(lengths.values())
    assert counted['mean_rle_bytes'] == np.mean([len(mask['counts']) for mask in masks])


def test_both_give_the_same_metrics_each_time():
    # More than the 100 tracks that count, and objects of all areas.
    large = dict(size=(1280, 720), tracks=(150, 150), categories=1, seed=1)
    for change in (dict(), dict(frames=1, tracks=(1, 1), categories=1), large):
        settings = Settings(**{**SMALL, **change})
        before = copy.deepcopy(track_set(settings))
        ours, baseline = (make(name, settings) for name in ('ours', 'baseline'))
        expected = baseline()
        assert metric_difference(ours(), expected) < 1e-12
        assert baseline() == expected and track_set(settings) == before
        # Neither nothing nor everything is found.
        assert 0.05 < expected['AR100'] < 0.95
    assert all(expected[name] > 0 for name in ALL_METRICS)


def test_the_last_line_is_json(capsys):
    settings = Settings(**SMALL, repeats=2)
    row = benchmark(settings)
    printed = capsys.readouterr().out.splitlines()
    # Nothing of what the baseline prints.
    assert json.loads(printed[-1]) == row and len(printed) == 7
    assert 'YTVISeval' in row['baseline'] and row['max_abs_diff'] < 1e-12
    assert set(row['metrics']) == set(ALL_METRICS)
    parts = row['baseline_load_s'] + row['baseline_evaluate_s']
    assert 0 < parts <= 1.001 * max(row['baseline_times_s'])
    wanted = row['matching_s'] / row['bootstrap_s']
    assert row['bootstrap_ratio'] == pytest.approx(wanted, rel=1e-3)
    found = track_set(settings)
    # Counts, not the settings of the same names.
    expected = dict(videos=4, tracks=len(found.results), size=[96, 64], dtype='float64')
    expected.update(name='evaluate', objects=len(found.annotations['annotations']))
    assert row == {**row, **expected}


def test_the_bootstrap_resamples_what_was_matched(monkeypatch):
    intervals = Mock()
    monkeypatch.setattr(evaluate, 'confidence_intervals', intervals)
    settings = Settings(**SMALL, repeats=2)
    parts = evaluate.time_parts(settings)
    assert {name: len(some) for name, some in parts.items()} == dict(matching_s=2, bootstrap_s=2)
    for call in intervals.call_args_list:
        matches, weights = call.args
        scores = [track['score'] for track in track_set(settings).results]
        assert matches.tracks.score.tolist() == scores
        assert weights.shape == (20, 4) and (weights.sum(axis=1) == 4).all()


def test_unequal_metrics_are_an_error(monkeypatch, capsys):
    found = draw()
    metrics = evaluate.evaluate_tracks(found.annotations, found.results)
    metrics['AR10'] = math.nan
    monkeypatch.setattr(evaluate, 'evaluate_tracks', lambda *arguments: metrics)
    with pytest.raises(UserError, match=r'do not agree: AR10 is nan of ours and 0\.'):
        benchmark(Settings(**SMALL, repeats=1))
    assert capsys.readouterr().out == ''
    # The largest difference by hand.
    ours = dict.fromkeys(ALL_METRICS, 0.5)
    assert metric_difference(ours, ours) == 0
    baseline = {**ours, 'AP': 0.5 + 2**-40, 'ARl': 0.5 - 2**-39}
    assert metric_difference(ours, baseline) == 2**-39
    with pytest.raises(UserError, match='APs is 0.5 of ours and 0.500000002'):
        metric_difference(ours, {**ours, 'APs': 0.500000002})
