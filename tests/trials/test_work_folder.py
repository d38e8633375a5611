"""A folder of trials holds what was run with one code, one data set, one preset."""

import json

import pytest

from vispropnet.errors import UserError
from vispropnet.trials import work_folder
from vispropnet.trials.plan import make_plan
from vispropnet.trials.work_folder import MANIFEST, asked_before, check_manifest, write_manifest

BEGUN = dict(arguments={'seeds': 1}, study='a', preset='cpu', configs={'baseline': 'x'})
BEGUN |= dict(data=['--videos', '4'], versions={'torch': '2'}, code={'a.py': '1', 'b.py': '2'})


@pytest.fixture
def begun(tmp_path):
    """A folder where a run was begun; before that, anything may change."""
    assert asked_before(tmp_path) == {}
    for manifest in ({**BEGUN, 'preset': 'gpu'}, BEGUN):
        assert check_manifest(tmp_path, manifest, resume=False) == manifest == read(tmp_path)
    (tmp_path / 'baseline/seed-0').mkdir(parents=True)
    return tmp_path


def resumed(out, **changes):
    return check_manifest(out, {**BEGUN, **changes}, resume=True)


def read(out):
    return json.loads((out / MANIFEST).read_text())


def test_a_folder_is_resumed_when_asked(begun):
    assert read(begun) == BEGUN and asked_before(begun) == {'seeds': 1}
    with pytest.raises(UserError, match='has these trials already: give --resume'):
        check_manifest(begun, BEGUN, resume=False)
    # Only what comes to be run is remembered; further trials join.
    joined = resumed(begun, arguments={'seeds': 2}, configs={'ordered': 'z'})
    changes = dict(arguments={'seeds': 2}, configs={'baseline': 'x', 'ordered': 'z'})
    assert joined == {**BEGUN, **changes} and read(begun) == BEGUN
    write_manifest(begun, joined)
    assert asked_before(begun) == {'seeds': 2}
    with pytest.raises(UserError, match='config of baseline, ordered changed'):
        resumed(begun, configs={'baseline': '', 'ordered': ''})
    # Older folders name no study.
    write_manifest(begun, {key: one for key, one in BEGUN.items() if key != 'study'})
    assert resumed(begun) == BEGUN


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(preset='gpu'), 'preset: cpu then, gpu now'),
        (dict(study='b'), 'study: a then, b now'),
        (dict(data=['--videos', '5']), 'data: --videos 4 then, --videos 5 now'),
        (dict(versions={'torch': '3'}), r'version of torch \(2 then, 3 now\) changed'),
        (dict(code={'a.py': '9', 'b.py': '2'}), 'code a.py changed'),
        (dict(code={'a.py': '1'}), 'code b.py changed'),
        (dict(configs={'baseline': 'y'}), 'config of baseline changed'),
        (dict(annotations={'test on': 'b'}), 'annotations to test on changed'),
    ],
)
def test_what_was_begun_otherwise_is_not_mixed(begun, change, words):
    before = {**BEGUN, 'annotations': {'test on': 'a'}}
    write_manifest(begun, before)
    with pytest.raises(UserError, match=words):
        resumed(begun, **change)
    assert read(begun) == before


def test_a_folder_of_something_else_is_left_alone_and_so_is_a_damaged_one(tmp_path):
    (tmp_path / 'thesis.tex').write_text('')
    with pytest.raises(UserError, match='is not empty and holds no trials'):
        resumed(tmp_path)
    (tmp_path / MANIFEST).write_text('{"arguments": {"seeds": 1}}')
    (tmp_path / 'baseline/seed-0').mkdir(parents=True)
    assert asked_before(tmp_path) == {'seeds': 1}
    with pytest.raises(UserError, match='of another version of this command'):
        resumed(tmp_path)
    for content, words in (
        ([], r"an object with 'arguments', found \[\]"),
        ({'a': 1}, "an object with 'arguments', found {'a': 1}"),
        ({**BEGUN, 'arguments': [1]}, r"an object at key 'arguments', found \[1\]"),
        ({**BEGUN, 'configs': []}, r"an object at key 'configs', found \[\]"),
    ):
        (tmp_path / MANIFEST).write_text(json.dumps(content))
        for look in (asked_before, resumed):
            with pytest.raises(UserError, match=f'{MANIFEST} is damaged: expected {words}'):
                look(tmp_path)
        assert read(tmp_path) == content


def test_the_manifest_knows_what_results_depend_on(study, tmp_path):
    def manifest(out='a', only=(), **more):
        return work_folder.manifest_of(make_plan(study, 'smoke', tmp_path / out, only, **more))

    one = manifest(only=['propagation-off'], data_seed=3)
    assert one['data'][-2:] == ['--seed', '3'] and one['study'] == 'objprop-trials'
    files = one['code']
    assert 'vispropnet/models/detectors/objprop.py' in files and 'vispropnet/config.py' in files
    assert 'vispropnet/apis/training.py' in files and 'vispropnet/apis/trials.py' not in files
    assert not any('/visualization/' in name or '/trials/' in name for name in files)
    # Configs with their changes, and not by the folder, nor data that are given by theirs.
    configs = one['configs']
    assert configs['baseline'] != configs['propagation-off']
    other = manifest('b', data=tmp_path / 'my')
    assert other['data'] == 'given' and other['configs']['baseline'] == configs['baseline']
    # The schedule is in no test, and matters all the same.
    for change in ('model.tracker.label_weight=1.0', 'train_cfg.max_epochs=9'):
        assert manifest(overrides=[change])['configs']['baseline'] != configs['baseline']
    one, same, other = map(work_folder.digest, ({'a': 1, 'b': 2}, {'b': 2, 'a': 1}, {'a': 1}))
    assert one == same != other
