"""Runs that are kept as files make the same table, and are not mixed with others."""

import gzip
import json

import pytest
import torch

from vispropnet.errors import UserError
from vispropnet.fileio import write_json
from vispropnet.trials.kept_runs import (
    check_unpacked,
    join_manifests,
    keep_runs,
    read_kept,
    unpack_kept,
)
from vispropnet.trials.plan import make_plan
from vispropnet.trials.scoring import run_costs

MANIFEST = dict(study='s', preset='cpu', data=['--videos', '4'], versions={'torch': '2'})
MANIFEST |= dict(code={'a.py': '1'}, annotations={'test on': 'x'}, hardware=['2 cores'])


def plan_of(study, out):
    """Three trials, two of them on the weights of one training, and what depends on nothing."""
    plan = make_plan(study, 'cpu', out, ['propagation-off', 'ordered'])
    names = {run.trial.name for run in plan.runs.values()}
    return plan, {**MANIFEST, 'configs': {name: f'of {name}' for name in names}}


def finish(plan, *keys, weight=1.0):
    """Writes what training writes, everywhere, and what a test does for the runs of the keys."""
    for run in plan.runs.values():
        if 'train' in run.steps:
            run.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            weights = {'w': torch.full((2, 2), weight, dtype=torch.bfloat16), 'n': torch.tensor(1)}
            torch.save(dict(state_dict=weights), run.checkpoint)
        if run.key in keys:
            write_json(run.results, [run.key])
            log = run.folder / 'test/1/1.json'
            log.parent.mkdir(parents=True)
            log.write_text('{"time": 0.25}')


@pytest.fixture
def kept(study, tmp_path):
    """The folder of two kept runs of three."""
    plan, manifest = plan_of(study, tmp_path / 'first')
    finish(plan, 'baseline/seed-0', 'propagation-off/seed-0')
    written = keep_runs(plan, tmp_path / 'kept', manifest, {})
    names = {path.relative_to(tmp_path / 'kept').as_posix() for path in written}
    assert names == {'baseline/seed-0.json.gz', 'propagation-off/seed-0.json.gz'}
    return tmp_path / 'kept'


def test_kept_runs_count_as_done_with_their_costs(study, kept, tmp_path):
    plan, manifest = plan_of(study, tmp_path / 'second')
    found = read_kept(plan, kept)
    assert found.keys() == {'baseline/seed-0', 'propagation-off/seed-0'}
    joined = join_manifests(plan, {**manifest, 'hardware': ['a GPU']}, found)
    assert joined == {**manifest, 'hardware': ['2 cores', 'a GPU']}
    unpack_kept(plan, found)
    assert [run.key for run in plan.tested() if not run.done()] == ['ordered/seed-0']
    run = plan.runs['propagation-off/seed-0']
    assert json.loads(run.results.read_text()) == [run.key]
    expected = dict(parameters=5, train_s_per_frame=None, test_s_per_frame=0.25)
    assert run_costs(plan.study.metrics, run) == expected
    left = 'start', 'start-head', 'ordered'
    assert [*plan.left()] == [plan.runs[f'{name}/seed-0'] for name in left]
    # What was unpacked is not kept once more; what was run here is, and equally each time.
    finish(plan, 'ordered/seed-0')
    (path,) = keep_runs(plan, tmp_path / 'other', manifest, {})
    assert path == tmp_path / 'other/ordered/seed-0.json.gz'
    once = path.read_bytes()
    assert keep_runs(plan, tmp_path / 'other', manifest, found) == [path]
    assert path.read_bytes() == once


def test_results_that_are_there_are_not_replaced(study, kept, tmp_path):
    plan, _ = plan_of(study, tmp_path / 'second')
    write_json(plan.baseline_run().results, ['mine'])
    unpack_kept(plan, read_kept(plan, kept))
    assert json.loads(plan.baseline_run().results.read_text()) == ['mine']


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(code={'a.py': '2'}), 'code a.py changed'),
        (dict(versions={'torch': '3'}), r'version of torch \(2 then, 3 now\) changed'),
        (dict(annotations={'test on': 'y'}), 'annotations to test on changed'),
        (dict(data=['--videos', '5']), 'data: --videos 4 then, --videos 5 now'),
        (dict(preset='gpu'), 'preset: cpu then, gpu now'),
        (dict(configs={'baseline': 'another'}), 'config of baseline changed'),
    ],
)
def test_runs_of_something_else_are_not_mixed_in(study, kept, tmp_path, change, words):
    plan, manifest = plan_of(study, tmp_path / 'second')
    now = {**manifest, **change}
    found = read_kept(plan, kept)
    words = f'/seed-0 does not fit to what is run here:\n.*{words}'
    with pytest.raises(UserError, match=words):
        join_manifests(plan, now, found)
    # With nothing left to run, they are what they were: code and packages may have changed since.
    alone = make_plan(study, 'cpu', tmp_path / 'alone', ['propagation-off'])
    if set(change) <= {'code', 'versions'}:
        assert join_manifests(alone, now, found) == manifest
    else:
        with pytest.raises(UserError, match='does not fit to'):
            join_manifests(alone, now, found)


def test_studies_share_runs_of_the_same_configs(study, kept, tmp_path):
    plan, manifest = plan_of(study, tmp_path / 'second')
    other = {**manifest, 'study': 'another'}
    found = read_kept(plan, kept)
    assert join_manifests(plan, other, found)['study'] == 'another'
    # An equal config that starts elsewhere is another run.
    weights = found['baseline/seed-0']['weights']
    weights['start-other/seed-0'] = weights.pop('start-head/seed-0')
    words = 'weights of baseline/seed-0 start-other/seed-0 .*then, baseline/seed-0 start-head'
    with pytest.raises(UserError, match=words):
        join_manifests(plan, other, found)


def test_runs_of_different_code_are_not_mixed_with_each_other(study, kept, tmp_path):
    plan, manifest = plan_of(study, tmp_path / 'second')
    finish(plan, 'ordered/seed-0')
    keep_runs(plan, kept, {**manifest, 'code': {'a.py': '2'}}, {})
    words = 'ordered/seed-0 does not fit to baseline/seed-0:\n  code a.py changed'
    with pytest.raises(UserError, match=words):
        join_manifests(plan, manifest, read_kept(plan, kept))


def test_other_weights_are_not_mixed_in(study, kept, tmp_path):
    """A start that was trained once more, and came out differently."""
    plan, manifest = plan_of(study, tmp_path / 'second')
    finish(plan, 'ordered/seed-0', weight=2.0)
    words = r'ordered/seed-0, run here, took weights of start-head/seed-0 \('
    with pytest.raises(UserError, match=words):
        keep_runs(plan, kept, manifest, read_kept(plan, kept))
    assert not (kept / 'ordered').exists()
    # Nor later, by a command that names no kept runs, where they lie in one folder.
    check_unpacked(plan)
    unpack_kept(plan, read_kept(plan, kept))
    with pytest.raises(UserError, match=words):
        check_unpacked(plan)
    finish(plan, weight=1.0)
    check_unpacked(plan)
    finish(plan, weight=2.0)
    keep_runs(plan, kept, manifest, {})
    with pytest.raises(UserError, match='took weights of start-head/seed-0 .* cannot be mixed'):
        join_manifests(plan, manifest, read_kept(plan, kept))


def test_damaged_files_are_named(study, kept, tmp_path):
    plan, _ = plan_of(study, tmp_path / 'second')
    path = kept / 'baseline/seed-0.json.gz'
    whole = path.read_bytes()
    content = json.loads(gzip.decompress(whole))
    for bad, words in (
        (whole[:-20], 'is damaged or was cut short'),
        (whole[: len(whole) // 2], 'is damaged or was cut short'),
        (b'', 'is damaged or was cut short'),
        (b'{}', 'is damaged or was cut short'),
        (gzip.compress(b'[1'), 'is damaged or was cut short'),
        (gzip.compress(b'[]'), 'expected an object with costs, format'),
        (gzip.compress(json.dumps({**content, 'format': 2}).encode()), 'of format 1'),
        (gzip.compress(json.dumps({**content, 'run': 'x/seed-0'}).encode()), 'is of x/seed-0'),
    ):
        path.write_bytes(bad)
        with pytest.raises(UserError, match=f'baseline/seed-0.json.gz:? .*{words}'):
            read_kept(plan, kept)
