"""A folder of trials holds what was run with one code, one data set, one preset."""

import json
import subprocess
import sys

import pytest

from vispropnet.errors import UserError
from vispropnet.trials.plan import make_plan
from vispropnet.trials.presets import PRESETS
from vispropnet.trials.work_folder import (
    MANIFEST,
    check_manifest,
    code_files,
    digest,
    locked,
    manifest_of,
)

BEGUN = dict(
    command='python tools/run_trials.py',
    preset='cpu',
    device='cpu',
    data=['--videos', '4'],
    versions={'torch': '2'},
    code={'a.py': '1', 'b.py': '2'},
    configs={'baseline': 'x'},
)


def test_an_empty_folder_is_marked_and_gone_on_with_when_asked(tmp_path):
    check_manifest(tmp_path, BEGUN, resume=False)
    assert json.loads((tmp_path / MANIFEST).read_text()) == BEGUN
    with pytest.raises(UserError, match='has these trials already: --resume goes on'):
        check_manifest(tmp_path, BEGUN, resume=False)
    # Whatever it is gone on with, tables name the command that it was begun with.
    later = {**BEGUN, 'command': 'python tools/run_trials.py --resume'}
    assert check_manifest(tmp_path, later, resume=True) == BEGUN


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'preset': 'gpu'}, 'preset: cpu then, gpu now'),
        ({'device': 'one GPU'}, 'device: cpu then, one GPU now'),
        ({'data': ['--videos', '5']}, 'data: --videos 4 then, --videos 5 now'),
        ({'versions': {'torch': '3'}}, r'version of torch \(2 then, 3 now\) changed'),
        ({'code': {'a.py': '9', 'b.py': '2'}}, 'code a.py changed'),
        ({'code': {'a.py': '1'}}, 'code b.py changed'),
        ({'configs': {'baseline': 'y'}}, 'config of baseline changed'),
    ],
)
def test_what_was_begun_otherwise_is_not_mixed(tmp_path, change, words):
    check_manifest(tmp_path, BEGUN, resume=False)
    with pytest.raises(UserError, match=words):
        check_manifest(tmp_path, {**BEGUN, **change}, resume=True)
    assert json.loads((tmp_path / MANIFEST).read_text()) == BEGUN


def test_further_trials_join_and_are_remembered(tmp_path):
    check_manifest(tmp_path, BEGUN, resume=False)
    check_manifest(tmp_path, {**BEGUN, 'configs': {'ordered': 'z'}}, resume=True)
    with pytest.raises(UserError, match='config of baseline, ordered changed'):
        changed = {'baseline': 'a', 'ordered': 'b'}
        check_manifest(tmp_path, {**BEGUN, 'configs': changed}, resume=True)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / 'thesis.tex').write_text('')
    with pytest.raises(UserError, match='is not empty and holds no trials'):
        check_manifest(tmp_path, BEGUN, resume=True)
    (tmp_path / MANIFEST).write_text('[1]')
    with pytest.raises(UserError, match='of another version of this command'):
        check_manifest(tmp_path, BEGUN, resume=True)


def test_results_depend_on_models_and_not_on_pictures():
    files = code_files()
    assert 'vispropnet/models/detectors/objprop.py' in files
    assert 'vispropnet/apis/running.py' in files and 'vispropnet/apis/trials.py' not in files
    assert not any('/visualization/' in name or '/trials/' in name for name in files)


def test_the_manifest_knows_configs_with_their_changes_and_not_the_folder(tmp_path):
    def configs(out, **more):
        plan = make_plan(PRESETS['smoke'], tmp_path / out, ['propagation-off'], **more)
        return manifest_of(plan, 'cpu')['configs']

    one, moved = configs('a'), configs('b')
    assert one == moved and one['baseline'] != one['propagation-off']
    other = configs('a', overrides=['model.tracker.label_weight=1.0'])
    assert other['baseline'] != one['baseline']
    assert digest({'a': 1, 'b': 2}) == digest({'b': 2, 'a': 1}) != digest({'a': 1})


def test_two_cannot_work_in_one_folder(tmp_path, root):
    out = tmp_path / 'out'
    code = (
        'import sys; from pathlib import Path\n'
        'from vispropnet.trials.work_folder import locked\n'
        'with locked(Path(sys.argv[1])): pass'
    )
    with locked(out):
        other = subprocess.run(
            [sys.executable, '-c', code, out], cwd=root, capture_output=True, text=True, check=False
        )
        assert other.returncode and 'is being worked in by another run_trials.py' in other.stderr
    with locked(out):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot be made'), locked(tmp_path / 'file/out'):
        pass
