"""A folder of trials holds what was run with one code, one data set, one preset."""

import json

import pytest

from vispropnet.errors import UserError
from vispropnet.trials.plan import make_plan
from vispropnet.trials.work_folder import (
    MANIFEST,
    asked_before,
    check_manifest,
    code_files,
    digest,
    manifest_of,
    write_manifest,
)

BEGUN = dict(
    arguments={'seeds': 1},
    study='a',
    preset='cpu',
    data=['--videos', '4'],
    versions={'torch': '2'},
    code={'a.py': '1', 'b.py': '2'},
    configs={'baseline': 'x'},
)


def begin(out):
    """Marks a folder, and begins a run in it."""
    check_manifest(out, BEGUN, resume=False)
    (out / 'baseline/seed-0').mkdir(parents=True)


def read(out):
    return json.loads((out / MANIFEST).read_text())


def test_an_empty_folder_is_marked_and_resumed_when_asked(tmp_path):
    assert asked_before(tmp_path) == {}
    begin(tmp_path)
    assert read(tmp_path) == BEGUN and asked_before(tmp_path) == {'seeds': 1}
    with pytest.raises(UserError, match='has these trials already: give --resume'):
        check_manifest(tmp_path, BEGUN, resume=False)
    later = {**BEGUN, 'arguments': {'seeds': 2}}
    # Only what comes to be run is remembered.
    assert check_manifest(tmp_path, later, resume=True) == later
    assert read(tmp_path) == BEGUN
    write_manifest(tmp_path, later)
    assert asked_before(tmp_path) == {'seeds': 2}


def test_before_the_first_run_anything_may_change(tmp_path):
    check_manifest(tmp_path, BEGUN, resume=False)
    other = {**BEGUN, 'preset': 'gpu'}
    assert check_manifest(tmp_path, other, resume=False) == other == read(tmp_path)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'preset': 'gpu'}, 'preset: cpu then, gpu now'),
        ({'study': 'b'}, 'study: a then, b now'),
        ({'data': ['--videos', '5']}, 'data: --videos 4 then, --videos 5 now'),
        ({'versions': {'torch': '3'}}, r'version of torch \(2 then, 3 now\) changed'),
        ({'code': {'a.py': '9', 'b.py': '2'}}, 'code a.py changed'),
        ({'code': {'a.py': '1'}}, 'code b.py changed'),
        ({'configs': {'baseline': 'y'}}, 'config of baseline changed'),
        ({'annotations': {'test on': 'b'}}, 'annotations to test on changed'),
    ],
)
def test_what_was_begun_otherwise_is_not_mixed(tmp_path, change, words):
    begin(tmp_path)
    write_manifest(tmp_path, {**BEGUN, 'annotations': {'test on': 'a'}})
    with pytest.raises(UserError, match=words):
        check_manifest(tmp_path, {**BEGUN, **change}, resume=True)
    assert read(tmp_path) == {**BEGUN, 'annotations': {'test on': 'a'}}


def test_folders_that_name_no_study_are_those_of_any(tmp_path):
    begin(tmp_path)
    write_manifest(tmp_path, {key: one for key, one in BEGUN.items() if key != 'study'})
    assert check_manifest(tmp_path, BEGUN, resume=True) == BEGUN


def test_further_trials_join_and_are_remembered(tmp_path):
    begin(tmp_path)
    joined = check_manifest(tmp_path, {**BEGUN, 'configs': {'ordered': 'z'}}, resume=True)
    assert joined['configs'] == {'baseline': 'x', 'ordered': 'z'}
    write_manifest(tmp_path, joined)
    with pytest.raises(UserError, match='config of baseline, ordered changed'):
        changed = {'baseline': 'a', 'ordered': 'b'}
        check_manifest(tmp_path, {**BEGUN, 'configs': changed}, resume=True)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / 'thesis.tex').write_text('')
    with pytest.raises(UserError, match='is not empty and holds no trials'):
        check_manifest(tmp_path, BEGUN, resume=True)
    (tmp_path / MANIFEST).write_text('{"arguments": {"seeds": 1}}')
    (tmp_path / 'baseline/seed-0').mkdir(parents=True)
    assert asked_before(tmp_path) == {'seeds': 1}
    with pytest.raises(UserError, match='of another version of this command'):
        check_manifest(tmp_path, BEGUN, resume=True)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ([], r"an object with 'arguments', found \[\]"),
        ({'a': 1}, "an object with 'arguments', found {'a': 1}"),
        ({**BEGUN, 'arguments': [1]}, r"an object at key 'arguments', found \[1\]"),
        ({**BEGUN, 'configs': []}, r"an object at key 'configs', found \[\]"),
    ],
)
def test_a_damaged_list_of_trials_is_reported_and_kept(tmp_path, content, words):
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    for look in (asked_before, lambda out: check_manifest(out, BEGUN, resume=True)):
        with pytest.raises(UserError, match=f'{MANIFEST} is damaged: expected {words}'):
            look(tmp_path)
    assert read(tmp_path) == content


def test_results_depend_on_models_and_not_on_pictures():
    files = code_files()
    assert 'vispropnet/models/detectors/objprop.py' in files
    assert 'vispropnet/config.py' in files
    assert 'vispropnet/apis/training.py' in files and 'vispropnet/apis/trials.py' not in files
    assert not any('/visualization/' in name or '/trials/' in name for name in files)


def test_the_manifest_knows_configs_with_their_changes_and_not_the_folder(study, tmp_path):
    def configs(out, **more):
        plan = make_plan(study, 'smoke', tmp_path / out, ['propagation-off'], **more)
        return manifest_of(plan)['configs']

    one = configs('a')
    assert one == configs('b') and one['baseline'] != one['propagation-off']
    # The schedule is in no test, and matters all the same.
    for change in ('model.tracker.label_weight=1.0', 'train_cfg.max_epochs=9'):
        assert configs('a', overrides=[change])['baseline'] != one['baseline']


def test_data_that_are_given_are_not_named_by_their_folder(study, tmp_path):
    made = manifest_of(make_plan(study, 'smoke', tmp_path, [], data_seed=3))
    assert made['data'][-2:] == ['--seed', '3'] and made['study'] == 'objprop-trials'
    given = manifest_of(make_plan(study, 'smoke', tmp_path, [], data=tmp_path / 'my'))
    assert given['data'] == 'given'
    assert digest({'a': 1, 'b': 2}) == digest({'b': 2, 'a': 1}) != digest({'a': 1})
