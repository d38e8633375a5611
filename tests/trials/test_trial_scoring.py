"""Metrics, differences, sizes and times of trials, of results made by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.evaluation.strips import data_set, shown, track
from vispropnet.evaluation.average_precision import evaluate_tracks
from vispropnet.evaluation.confidence import resample_videos
from vispropnet.trials.plan import make_plan
from vispropnet.trials.scoring import (
    count_parameters,
    score_trials,
    seconds_of_test,
    seconds_of_training,
)

# Two videos with two objects each, all of one category.
TRUTHS = [(video, 1, shown(row, '11')) for video in (1, 2) for row in (0, 2)]
CONTENT = data_set({1: 2, 2: 2}, TRUTHS, categories=(1,))


def found(*objects):
    """Tracks that are exactly these of the objects 0 to 3."""
    return [track(*TRUTHS[one][:2], 0.9 - one / 10, TRUTHS[one][2]) for one in objects]


@pytest.fixture
def trials_of(study, tmp_path):
    """Plans trials whose results are given by run, and scores them: gives plan and table."""

    def trials_of(results, preset='cpu', content=CONTENT, study=study, **more):
        only = [key.split('/')[0] for key in results]
        plan = make_plan(study, preset, tmp_path / preset, only, **more)
        for key, tracks in results.items():
            run = plan.runs[key]
            run.folder.mkdir(parents=True)
            run.results.write_text(json.dumps(tracks))
        annotations = tmp_path / 'instances.json'
        annotations.write_text(json.dumps(content))
        return plan, score_trials(plan, annotations, resamples=50)

    return trials_of


def test_metrics_are_means_over_seeds_and_the_gap_is_apart(trials_of):
    results = {'baseline/seed-0': found(0, 2), 'baseline/seed-1': found(0, 1, 2)}
    results['ordered/seed-0'] = found(0, 1, 2, 3)
    _, table = trials_of(results, baseline_seeds=2)
    baseline, ordered = table['trials']
    single = [evaluate_tracks(CONTENT, one)['mAP'] for one in list(results.values())[:2]]
    assert single[0] != single[1] and evaluate_tracks(CONTENT, found(0, 1, 2, 3))['mAP'] == 1
    figure = baseline['figures']['mAP']
    assert figure['by_seed'] == {'0': single[0], '1': single[1]}
    assert figure['mean'] == pytest.approx(np.mean(single))
    assert figure['seed_spread'] == pytest.approx(single[1] - single[0])
    assert baseline['difference'] is None and baseline['seeds'] == [0, 1]
    assert ordered['figures']['mAP']['seed_spread'] is None
    assert ordered['difference']['mAP']['value'] == pytest.approx(1 - np.mean(single))
    # Half of each video's objects may be found by one track, all by ten.
    assert ordered['figures']['AR1']['mean'] == pytest.approx(0.5)
    assert ordered['figures']['AR10']['mean'] == 1
    assert table['data'] == dict(
        name='moving shapes, occlusion, seed 0', videos=2, frames=4, objects=4
    )


def test_differences_are_of_the_same_resampled_videos(trials_of):
    """No resample changes the difference of a trial that finds as much more in every video."""
    results = {'baseline/seed-0': found(0, 2), 'ordered/seed-0': found(0, 1, 2, 3)}
    _, table = trials_of(results)
    difference = table['trials'][1]['difference']['AR10']
    assert difference == dict(
        value=0.5, ci=[0.5, 0.5], above_zero=1.0, seed_error=None, ci_both=None
    )


def test_a_trial_on_the_weights_of_the_baseline_is_compared_with_the_same_seed(trials_of):
    """The other seed of the baseline finds nothing: the gap between seeds is no difference."""
    same = found(0, 2)
    results = {'baseline/seed-0': same, 'baseline/seed-1': [], 'propagation-off/seed-0': same}
    results |= {'additional-training/seed-0': same, 'ordered/seed-0': same}
    _, table = trials_of(results, baseline_seeds=2)
    rows = {one['name']: one for one in table['trials']}
    for name in ('propagation-off', 'additional-training'):
        difference = rows[name]['difference']['AR10']
        assert (difference['value'], difference['ci']) == (0, [0, 0])
    assert rows['ordered']['difference']['AR10']['value'] == pytest.approx(0.25)


def test_what_seeds_change_is_apart_from_what_videos_change(trials_of):
    """AR10 of the baseline's seeds: 0.25, 0.75; of one trial 0.5, 1; of another 1."""
    results = {'baseline/seed-0': found(0), 'baseline/seed-1': found(0, 1, 2)}
    results |= {'ordered/seed-0': found(0, 2), 'ordered/seed-1': found(0, 1, 2, 3)}
    results |= {'tuning-2/seed-0': found(0, 1, 2, 3), 'propagation-off/seed-0': found(0, 1)}
    results |= {'propagation-off/seed-1': found(0, 1, 2)}
    _, table = trials_of(results, seeds=2)
    rows = {one['name']: one['difference'] for one in table['trials']}
    # Within both trials squares add up to 2 * 0.25², with one degree of freedom each; half of the
    # interval of Student's t with two degrees of freedom is 4.3027 standard errors.
    ordered, lone = rows['ordered']['AR10'], rows['tuning-2']['AR10']
    deviation = (4 * 0.25**2 / 2) ** 0.5
    assert ordered['seed_error'] == pytest.approx(4.3027 * deviation * 1, rel=1e-4)
    assert lone['seed_error'] == pytest.approx(4.3027 * deviation * 1.5**0.5, rel=1e-4)
    low, high = lone['ci']
    assert lone['ci_both'] == pytest.approx(
        [
            lone['value'] - np.hypot(lone['value'] - low, lone['seed_error']),
            lone['value'] + np.hypot(high - lone['value'], lone['seed_error']),
        ]
    )
    # On the same weights, differences are of a seed: 0.25 and 0; with one degree of freedom 12.706.
    off = rows['propagation-off']['AR10']
    assert off['value'] == pytest.approx(0.125)
    assert off['seed_error'] == pytest.approx(12.706 * 0.125, rel=1e-4)


def test_a_baseline_on_the_weights_of_a_trial_is_compared_by_seed_too(study, trials_of):
    """AR10 of its seeds 0.5, 0.75; of the trial whose weights it takes 0.25, 0.75; of another 1."""
    results = {'propagation-off/seed-0': found(0, 1), 'propagation-off/seed-1': found(0, 1, 2)}
    results |= {'baseline/seed-0': found(0), 'baseline/seed-1': found(0, 1, 2)}
    results |= {'ordered/seed-0': found(0, 1, 2, 3)}
    study = replace(study, baseline='propagation-off')
    _, table = trials_of(results, study=study, seeds=2)
    rows = {one['name']: one for one in table['trials']}
    difference = rows['baseline']['difference']['AR10']
    assert difference['value'] == pytest.approx(-0.125)
    assert difference['seed_error'] == pytest.approx(12.706 * 0.125, rel=1e-4)
    # One training has two seeds, and counts once: with one degree of freedom 12.706.
    error = 12.706 * (2 * 0.25**2) ** 0.5 * 1.5**0.5
    assert rows['ordered']['difference']['AR10']['seed_error'] == pytest.approx(error, rel=1e-4)
    trains = {name: row['trains'] for name, row in rows.items()}
    assert trains == {'baseline': False, 'propagation-off': True, 'ordered': True}


def test_the_interval_of_a_mean_is_that_of_resampled_means(trials_of):
    results = {'baseline/seed-0': found(0), 'baseline/seed-1': found(0, 1, 2)}
    _, table = trials_of(results, baseline_seeds=2)
    # AR10 of a data set in which the videos stand so many times: a share of objects found.
    weights = resample_videos(2, 50, 0)
    means = (np.array([0.5, 0]) + np.array([1, 0.5])) / 2
    resampled = weights @ means / 2
    moved = resampled - resampled.mean() + means.mean()
    low, high = np.percentile(moved, [2.5, 97.5])
    figure = table['trials'][0]['figures']['AR10']
    assert figure['mean'] == pytest.approx(0.5)
    assert figure['ci'] == pytest.approx([max(low, 0), min(high, 1)])


def test_what_failed_or_is_not_there_yet(trials_of, tmp_path):
    plan, table = trials_of({'baseline/seed-0': [], 'ordered/seed-0': found(0)})
    assert [one['state'] for one in table['trials']] == ['done', 'done']
    assert table['trials'][0]['figures']['mAP']['mean'] == 0
    run = plan.runs['ordered/seed-0']
    run.results.unlink()
    annotations = tmp_path / 'instances.json'
    missing = score_trials(plan, annotations, 50)['trials'][1]
    assert missing['state'] == 'missing' and missing['figures'] is None
    failure = dict(run=run.key, step='train', exit=1, log='train.log', lines=['NaN'])
    run.failure.write_text(json.dumps(failure))
    failed = score_trials(plan, annotations, 50)['trials'][1]
    assert failed['state'] == 'failed' and failed['failure'] == failure
    # Weights that diverged can have results, which mean nothing.
    run.results.write_text(json.dumps(found(0)))
    failed = score_trials(plan, annotations, 50)['trials'][1]
    assert failed['state'] == 'failed' and failed['figures'] is None


def test_data_are_named_by_the_preset_and_their_folder(trials_of, tmp_path):
    results = {'baseline/seed-0': []}
    _, table = trials_of(results, data=tmp_path / 'my')
    assert table['data']['name'] == str(tmp_path / 'my')
    name = 'YouTube-VIS 2019, local split'
    _, table = trials_of(results, 'ytvis19')
    assert table['data']['name'] == name
    _, table = trials_of(results, 'ytvis21', data=tmp_path / 'my')
    assert table['data']['name'] == f'{name.replace("19", "21")} of {tmp_path / "my"}'


def test_nothing_is_compared_where_the_baseline_failed(trials_of):
    _, table = trials_of({'ordered/seed-0': found(0)})
    assert [one['state'] for one in table['trials']] == ['missing', 'done']
    assert table['trials'][1]['difference'] is None


def test_published_metrics_stand_beside_those_of_their_data_only(trials_of):
    _, small = trials_of({'ordered/seed-0': []})
    _, real = trials_of({'ordered/seed-0': [], 'masktrack-rcnn/seed-0': []}, 'ytvis19')
    assert small['trials'][1]['published'] is None and small['published'] is None
    published = {one['name']: one['published'] for one in real['trials']}
    assert published['ordered']['mAP'] == 0.335
    assert published['masktrack-rcnn']['AP50'] is None
    assert 'YouTube-VIS 2019' in real['published']


def test_a_single_video_has_differences_and_no_intervals(trials_of):
    content = data_set({1: 2}, TRUTHS[:2], categories=(1,))
    results = {'baseline/seed-0': found(0), 'ordered/seed-0': found(0, 1)}
    _, table = trials_of(results, content=content)
    difference = table['trials'][1]['difference']['AR10']
    assert (difference['value'], difference['ci'], difference['ci_both']) == (0.5, None, None)


def test_parameters_are_what_is_learnt(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'epoch_1.pth')
    # 2 * 3 weights and 3 biases; scale and shift of 3 channels.
    assert count_parameters(tmp_path / 'epoch_1.pth') == 15
    assert count_parameters(tmp_path / 'none.pth') is None


def test_times_are_of_a_frame(study, tmp_path):
    run = make_plan(study, 'smoke', tmp_path, []).baseline_run()
    assert seconds_of_training(run) is None and seconds_of_test(run) is None
    log = run.folder / 'train/20260101_000000/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    rows = [dict(loss=1.0, time=seconds, iter=i) for i, seconds in enumerate((4.0, 0.8, 0.8), 1)]
    rows.append({'ytvis/mAP': 0.1, 'time': 77.0, 'step': 3})
    log.write_text('\n'.join(map(json.dumps, rows)))
    # Four clips of two frames an iteration are eight frames.
    assert seconds_of_training(run) == pytest.approx(0.1)
    for stamp, seconds in (('20260101_000000', 9.0), ('20260102_000000', 0.25)):
        record = run.folder / f'test/{stamp}/{stamp}.json'
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({'time': seconds}))
    assert seconds_of_test(run) == 0.25
    # Cut short or empty, the newest log is that of a test that was killed.
    (run.folder / 'test/20260103_000000').mkdir()
    newest = run.folder / 'test/20260103_000000/20260103_000000.json'
    newest.write_text('{"time": 2}\n{"time": 3')
    assert seconds_of_test(run) == 2
    newest.write_text('')
    assert seconds_of_test(run) == 0.25
