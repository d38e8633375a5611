"""Studies of models whose objects are given: their tests, metrics and costs."""

import csv
import io
import json

import numpy as np
import pytest

from vispropnet.errors import UserError
from vispropnet.evaluation.confidence import resample_videos
from vispropnet.trials import scoring
from vispropnet.trials.plan import make_plan
from vispropnet.trials.report.page import write_report
from vispropnet.trials.study_file import read_study
from vispropnet.trials.table import comma_separated, markdown

METRICS = ('J_mean', 'J_decay', 'F_mean', 'F_decay', 'JF')


@pytest.fixture(scope='module')
def eamstcn(root):
    return read_study(root / 'configs/studies/eamstcn.py')


def metrics_file(*values, seconds=0.5, kept=4.0):
    """Objects of two videos, one of the first and two of the second, with J = F = JF."""
    keys = [('a', 1), ('b', 1), ('b', 2)]
    objects = [
        dict(sequence=name, id=number, **dict.fromkeys(METRICS, value), J_recall=1, F_recall=1)
        for (name, number), value in zip(keys, values, strict=True)
    ]
    costs = dict(frames=12, seconds_per_frame=seconds, frames_kept=kept, peak_mib=700.0)
    return dict(objects=objects, sequences=[dict(sequence=one) for one in 'ab'], costs=costs)


@pytest.fixture
def score(eamstcn, tmp_path):
    """Scores trials whose metrics files are given by seed."""

    def score(results, **more):
        plan = make_plan(eamstcn, 'cpu', tmp_path, list(results), **more)
        for name, of_seeds in results.items():
            for seed, content in enumerate(of_seeds):
                run = plan.runs[f'{name}/seed-{seed}']
                run.folder.mkdir(parents=True, exist_ok=True)
                run.results.write_text(json.dumps(content))
        table = scoring.score_trials(plan, None, resamples=50)
        return table, {trial['name']: trial for trial in table['trials']}

    return score


def test_every_encoder_is_tested_with_every_policy(eamstcn, tmp_path):
    assert len(eamstcn.trials) == 15 and eamstcn.metrics == METRICS
    plan = make_plan(eamstcn, 'smoke', tmp_path)
    trained = [run.trial.name for run in plan.runs.values() if 'train' in run.steps]
    assert trained == ['resnet', 'v2b1', 'v2b1-plain']
    run = plan.runs['v2b1-change/seed-0']
    test, folder = run.steps['test'], tmp_path / 'v2b1-change/seed-0'
    assert test[0].endswith('tools/test_vos.py') and test[1].endswith(
        'stcn_v2b1_40e_moving-shapes.py'
    )
    assert test[2] == f'{tmp_path}/v2b1/seed-0/train/epoch_1.pth'
    options = ['--out', f'{folder}/tracks.json', '--eval', '--json', f'{folder}/results.json']
    assert test[3:8] == options and 'model.saving.type=ChangeSave' in test
    assert run.tracks == folder / 'tracks.json' and run.results == folder / 'results.json'


def test_policies_replace_each_other(eamstcn, root, monkeypatch):
    from vispropnet.config import load_config

    monkeypatch.chdir(root)
    expected = {
        'every-5': dict(type='PeriodicSave', every=5),
        'every-25': dict(type='PeriodicSave', every=25),
        'adaptive': dict(type='AdaptiveSave', every=25),
        'change': dict(type='ChangeSave', threshold=20.0),
    }
    for name, trial in eamstcn.trials.items():
        config = eamstcn.presets['cpu'].config_of(trial)
        model = load_config(config, trial.test_overrides).model
        kind = name.removeprefix('resnet-').removeprefix('v2b1-').removeprefix('plain-')
        # Without a policy of its own: as the config has it.
        assert model.saving == expected.get(kind, dict(type='PeriodicSave', every=2)), name
        assert model.read_previous == (kind not in expected)


def test_metrics_are_means_over_objects_and_intervals_over_videos(score):
    results = {
        'resnet': [metrics_file(0.2, 0.5, 0.8)],
        'resnet-change': [metrics_file(0.4, 0.5, 1)],
    }
    table, rows = score(results)
    assert table['metrics'] == list(METRICS)
    assert {key: table['data'][key] for key in ('videos', 'frames', 'objects')} == dict(
        videos=2, frames=12, objects=3
    )
    figure = rows['resnet']['figures']['JF']
    assert figure['mean'] == pytest.approx(0.5) and rows['resnet']['errors'] is None
    weights = resample_videos(2, 50, 0)
    drawn = weights @ [0.2, 1.3] / (weights @ [1, 2])
    ends = np.percentile(drawn - drawn.mean() + 0.5, [2.5, 97.5])
    assert figure['ci'] == pytest.approx(ends)
    difference = rows['resnet-change']['difference']['JF']
    drawn = weights @ [0.2, 0.2] / (weights @ [1, 2])
    ends = np.percentile(drawn - drawn.mean() + 0.4 / 3, [2.5, 97.5])
    assert difference['value'] == pytest.approx(0.4 / 3)
    assert difference['ci'] == pytest.approx(ends) and difference['above_zero'] == 1


def test_costs_stand_in_all_tables(score, tmp_path, shapes):
    results = {'resnet': [metrics_file(0.2, 0.5, 0.8), metrics_file(0.3, 0.5, 0.8, seconds=0.7)]}
    results['resnet-every-25'] = [metrics_file(0.2, -0.5, 0.8, kept=1.5)]
    table, rows = score(results, baseline_seeds=2)
    assert rows['resnet']['test_s_per_frame'] == 0.6 and rows['resnet']['peak_mib'] == 700
    asked = dict(command='python x', date='2026-11-26', hardware='2 cores', code='abc', versions={})
    table |= asked
    text = markdown(table)
    heads, _, first, second = [line for line in text.splitlines() if line.startswith('|')][:4]
    assert '| JF | difference |' in heads and heads.endswith('| frames kept | test, peak MiB |')
    assert first.endswith('| 600.0 | 4.0 | 700 |') and second.endswith('| 500.0 | 1.5 | 700 |')
    assert 'JF minus that of the baseline' in text
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert [row['frames_kept'] for row in rows] == ['4.0', '1.5'] and float(rows[0]['JF']) > 0.5
    page = tmp_path / 'report.html'
    write_report(
        page, table, shapes / 'valid/instances.json', shapes / 'valid/JPEGImages', {}, None
    )
    text = page.read_text()
    assert '<th scope="col">Frames kept</th>' in text and '<td>1.5</td><td>700 MiB</td>' in text
    assert 'Gap of JF between seeds' in text and 'No trial has a breakdown' in text


def test_metrics_files_that_do_not_fit_are_named(score):
    other = metrics_file(0.2, 0.5, 0.8)
    other['objects'].pop()
    with pytest.raises(UserError, match=r'results.json: it scores 2 objects, .* not the 3 of the'):
        score({'resnet': [metrics_file(0.2, 0.5, 0.8)], 'resnet-change': [other]})
    with pytest.raises(UserError, match='results.json: expected an object with sequences, objects'):
        score({'resnet': [dict(JF=1)]})


def test_a_study_that_has_no_results_yet(score):
    table, rows = score({'resnet': []})
    assert table['data']['videos'] == 0 and rows['resnet']['state'] == 'missing'


def test_an_unknown_metric_is_named(root, tmp_path):
    text = (root / 'configs/studies/eamstcn.py').read_text()
    (tmp_path / 'study.py').write_text(text.replace("metric = 'JF'", "metric = 'J'"))
    with pytest.raises(UserError, match="metric: expected one of mAP, JF, found 'J'"):
        read_study(tmp_path / 'study.py')
