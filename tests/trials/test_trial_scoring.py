"""Metrics, differences, sizes and times of trials, of results made by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.evaluation.strips import data_set, shown, track
from vispropnet.evaluation.average_precision import evaluate_tracks
from vispropnet.evaluation.confidence import resample_videos
from vispropnet.trials import measures, scoring
from vispropnet.trials.plan import make_plan

# Two videos with two objects each, all of one category.
TRUTHS = [(video, 1, shown(row, '11')) for video in (1, 2) for row in (0, 2)]
CONTENT = data_set({1: 2, 2: 2}, TRUTHS, categories=(1,))


def found(*objects):
    """Tracks that are exactly these of the objects 0 to 3."""
    return [track(*TRUTHS[one][:2], 0.9 - one / 10, TRUTHS[one][2]) for one in objects]


ALL, WITHOUT_LAST = found(0, 1, 2, 3), found(0, 1, 2)


@pytest.fixture
def score(study, tmp_path):
    """Scores trials whose results are given by seed: gives the table, and its trials by name."""

    def score(results, preset='cpu', content=CONTENT, study=study, **more):
        plan = make_plan(study, preset, tmp_path / preset, list(results), **more)
        for name, of_seeds in results.items():
            for seed, tracks in enumerate(of_seeds):
                run = plan.runs[f'{name}/seed-{seed}']
                run.folder.mkdir(parents=True, exist_ok=True)
                run.results.write_text(json.dumps(tracks))
        (tmp_path / 'instances.json').write_text(json.dumps(content))
        table = scoring.score_trials(plan, tmp_path / 'instances.json', resamples=50)
        return table, {trial['name']: trial for trial in table['trials']}

    return score


def test_metrics_are_means_over_seeds_and_the_gap_is_apart(score):
    results = dict(baseline=[found(0, 2), WITHOUT_LAST], ordered=[ALL])
    table, rows = score(results, baseline_seeds=2)
    baseline, ordered = rows['baseline'], rows['ordered']
    single = [evaluate_tracks(CONTENT, one)['mAP'] for one in (found(0, 2), WITHOUT_LAST)]
    assert single[0] != single[1] and evaluate_tracks(CONTENT, ALL)['mAP'] == 1
    figure, mean = baseline['figures']['mAP'], pytest.approx(np.mean(single))
    assert (figure['by_seed'], figure['mean']) == ({'0': single[0], '1': single[1]}, mean)
    assert figure['seed_spread'] == pytest.approx(single[1] - single[0])
    assert baseline['difference'] is None and baseline['seeds'] == [0, 1]
    assert ordered['figures']['mAP']['seed_spread'] is None
    assert ordered['difference']['mAP']['value'] == pytest.approx(1 - np.mean(single))
    # The interval is of AR10 of data sets in which the videos stand so many times.
    means = (np.array([0.5, 0.5]) + np.array([1, 0.5])) / 2
    resampled = resample_videos(2, 50, 0) @ means / 2
    low, high = np.percentile(resampled - resampled.mean() + means.mean(), [2.5, 97.5])
    figure = baseline['figures']['AR10']
    assert figure['mean'] == 0.625 and figure['ci'] == pytest.approx([low, min(high, 1)])
    # Half of each video's objects may be found by one track, all by ten.
    assert [ordered['figures'][one]['mean'] for one in ('AR1', 'AR10')] == pytest.approx([0.5, 1])
    counts = dict(videos=2, frames=4, objects=4)
    assert table['data'] == dict(name='moving shapes, occlusion, seed 0', **counts)
    # Differences are of the same resampled videos.
    single = data_set({1: 2}, TRUTHS[:2], categories=(1,))
    for content, baseline, ordered, ends, above in (
        # As much more in every video: no resample changes the difference.
        (CONTENT, found(0, 2), ALL, [0.5, 0.5], 1.0),
        # A single video has no interval.
        (single, found(0), found(0, 1), None, None),
    ):
        _, rows = score(dict(baseline=[baseline], ordered=[ordered]), content=content)
        expected = dict(value=0.5, ci=ends, above_zero=above, seed_error=None, ci_both=None)
        assert rows['ordered']['difference']['AR10'] == expected


def test_a_trial_on_the_weights_of_the_baseline_is_compared_with_the_same_seed(score):
    """The other seed of the baseline finds nothing: the gap between seeds is no difference."""
    same, others = found(0, 2), ('propagation-off', 'additional-training')
    results = dict(baseline=[same, []], ordered=[same], **dict.fromkeys(others, [same]))
    _, rows = score(results, baseline_seeds=2)
    for name in others:
        assert rows[name]['difference']['AR10'].items() >= dict(value=0, ci=[0, 0]).items()
    assert rows['ordered']['difference']['AR10']['value'] == pytest.approx(0.25)


def test_what_seeds_change_is_apart_from_what_videos_change(score):
    """AR10 of the baseline's seeds: 0.25, 0.75; of one trial 0.5, 1; of another 1."""
    results = {'baseline': [found(0), WITHOUT_LAST], 'ordered': [found(0, 2), ALL]}
    results |= {'tuning-2': [ALL], 'propagation-off': [found(0, 1), WITHOUT_LAST]}
    table, rows = score(results, seeds=2)
    names = 'ordered', 'tuning-2', 'propagation-off'
    ordered, lone, off = (rows[name]['difference']['AR10'] for name in names)
    # Within both trials squares add up to 2 * 0.25², with one degree of freedom each; half of the
    # interval of Student's t with two degrees of freedom is 4.3027 standard errors.
    deviation = (4 * 0.25**2 / 2) ** 0.5
    assert ordered['seed_error'] == pytest.approx(4.3027 * deviation * 1, rel=1e-4)
    assert lone['seed_error'] == pytest.approx(4.3027 * deviation * 1.5**0.5, rel=1e-4)
    value, (low, high) = lone['value'], lone['ci']
    below, above = (np.hypot(value - end, lone['seed_error']) for end in (low, high))
    assert lone['ci_both'] == pytest.approx([value - below, value + above])
    metric = [rows[name]['difference']['mAP'] for name in names[:2]]
    halves = [(one['ci'][1] - one['ci'][0]) / 2 for one in metric]
    spreads = [rows[name]['figures']['mAP']['seed_spread'] for name in ('baseline', 'ordered')]
    # Of two values, the squares to the mean are half the square of their gap.
    deviation = (sum(gap**2 / 2 for gap in spreads) / 2) ** 0.5
    expected = dict(deviation=deviation, over_videos=sum(halves) / 2)
    assert table['power'] == pytest.approx(expected)
    # Another test of a trial's weights is no training of its own.
    again = dict(results, **{'masktrack-rcnn': [found(0), ALL]})
    several, _ = score({**again, 'masktrack-rcnn-looks': [found(0), found(0)]}, seeds=2)
    assert several['power']['deviation'] == score(again, seeds=2)[0]['power']['deviation']
    # On the same weights, differences are of a seed: 0.25 and 0; with one degree of freedom 12.706.
    assert off['value'] == pytest.approx(0.125)
    assert off['seed_error'] == pytest.approx(12.706 * 0.125, rel=1e-4)


def test_a_baseline_on_the_weights_of_a_trial_is_compared_by_seed_too(study, score):
    """AR10 of its seeds 0.5, 0.75; of the trial whose weights it takes 0.25, 0.75; of another 1."""
    results = {'baseline': [found(0), WITHOUT_LAST], 'ordered': [ALL]}
    results['propagation-off'] = [found(0, 1), WITHOUT_LAST]
    _, rows = score(results, study=replace(study, baseline='propagation-off'), seeds=2)
    ordered, baseline = (rows[name]['difference']['AR10'] for name in ('ordered', 'baseline'))
    assert baseline['value'] == pytest.approx(-0.125)
    assert baseline['seed_error'] == pytest.approx(12.706 * 0.125, rel=1e-4)
    # One training has two seeds, and counts once: with one degree of freedom 12.706.
    error = 12.706 * (2 * 0.25**2) ** 0.5 * 1.5**0.5
    assert ordered['seed_error'] == pytest.approx(error, rel=1e-4)
    trains = {name: row['trains'] for name, row in rows.items()}
    assert trains == {'baseline': False, 'propagation-off': True, 'ordered': True}


def test_what_failed_or_is_not_there_yet(study, score, tmp_path):
    _, rows = score(dict(baseline=[[]], ordered=[found(0)]))
    assert [one['state'] for one in rows.values()] == ['done', 'done']
    assert rows['baseline']['figures']['mAP']['mean'] == 0
    plan = make_plan(study, 'cpu', tmp_path / 'cpu', ['ordered'])
    run = plan.runs['ordered/seed-0']

    def assert_scored(baseline, **ordered):
        found = scoring.score_trials(plan, tmp_path / 'instances.json', 50)['trials']
        assert found[0]['state'] == baseline and found[1] == {**found[1], **ordered}

    run.results.unlink()
    assert_scored('done', state='missing', figures=None)
    failure = dict(run=run.key, step='train', exit=1, log='train.log', lines=['NaN'])
    run.failure.write_text(json.dumps(failure))
    assert_scored('done', state='failed', failure=failure, figures=None)
    # Weights that diverged can have results, which mean nothing.
    run.results.write_text(json.dumps(found(0)))
    assert_scored('done', state='failed', failure=failure, figures=None)
    # Nothing is compared with a baseline that is missing.
    run.failure.unlink()
    plan.baseline_run().results.unlink()
    assert_scored('missing', state='done', difference=None)


def test_names_of_data_and_published_metrics_are_those_of_the_preset(score, tmp_path):
    results, data = {'ordered': [[]], 'masktrack-rcnn': [[]]}, tmp_path / 'my'
    table, rows = score(results, data=data)
    assert table['data']['name'] == str(data)
    assert table['published'] is None and rows['ordered']['published'] is None
    table, rows = score(results, 'ytvis19')
    assert table['data']['name'] == 'YouTube-VIS 2019, local split'
    assert 'YouTube-VIS 2019' in table['published']
    ordered, masktrack = (rows[name]['published'] for name in results)
    assert ordered['mAP'] == 0.335 and masktrack['AP50'] is None
    table, _ = score(results, 'ytvis21', data=data)
    assert table['data']['name'] == f'YouTube-VIS 2021, local split of {data}'


def test_parameters_are_what_is_learnt_and_times_are_of_a_frame(study, tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'epoch_1.pth')
    # 2 * 3 weights and 3 biases; scale and shift of 3 channels.
    assert scoring.count_parameters(tmp_path / 'epoch_1.pth') == 15
    assert scoring.count_parameters(tmp_path / 'none.pth') is None
    run = make_plan(study, 'smoke', tmp_path, []).baseline_run()
    assert scoring.seconds_of_training(run) is None and measures.seconds_of_test(run) is None
    log = run.folder / 'train/20260101_000000/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    rows = [dict(loss=1.0, time=time, iter=n) for n, time in enumerate((4.0, 0.8, 0.8), 1)]
    rows.append({'ytvis/mAP': 0.1, 'time': 77.0, 'step': 3})
    log.write_text('\n'.join(map(json.dumps, rows)))
    # Four clips of two frames an iteration are eight frames.
    assert scoring.seconds_of_training(run) == pytest.approx(0.1)
    # The newest log counts; cut short or empty, it is that of a test that was killed.
    texts = ('{"time": 9}', 9), ('{"time": 0.25}', 0.25), ('{"time": 2}\n{"time": 3', 2), ('', 2)
    for day, (text, seconds) in enumerate(texts):
        record = run.folder / f'test/2026010{day}/2026010{day}.json'
        record.parent.mkdir(parents=True)
        record.write_text(text)
        assert measures.seconds_of_test(run) == seconds
