"""Data of trials: made once, found, or reported with how to get them."""

import pytest

from tests.trials.example import broken_python
from vispropnet.errors import UserError
from vispropnet.trials.data import check_data, data_of, make_data, make_shapes
from vispropnet.trials.plan import make_plan


def test_shapes_are_made_unless_these_very_ones_are_there(tmp_path):
    folder, commands = tmp_path / 'data', []

    def run(command):
        commands.append(command[1:])
        folder.mkdir()  # fails where something is left of others

    made = [make_shapes(folder, ['--seed', seed], run) for seed in '001']
    assert made == [True, False, True]
    assert commands == [[str(folder), '--seed', seed] for seed in '01']


def test_data_that_cannot_be_made_are_reported_and_tried_again(study, tmp_path, monkeypatch):
    monkeypatch.setattr('sys.executable', broken_python(tmp_path, 'echo no room >&2; exit 1'))
    said = []
    for _ in range(2):
        with pytest.raises(UserError, match='the data cannot be made: no room$'):
            make_data(make_plan(study, 'smoke', tmp_path / 'out'), said.append)
    # Those that are given are not made.
    make_data(make_plan(study, 'smoke', tmp_path / 'out', data=tmp_path), said.append)
    assert said == [f'making the data: {tmp_path}/out/data'] * 2


def test_data_that_are_given_have_to_be_there(study, tmp_path):
    plan = make_plan(study, 'ytvis19', tmp_path / 'out', ['baseline'], data=tmp_path)
    train, test = data_of(plan).values()
    assert test.annotations == tmp_path / 'local/valid.json'
    assert train.images == test.images == tmp_path / 'train/JPEGImages'
    places = (tmp_path / 'local/train.json', train.images, test.annotations)
    for part, path in zip(('train', 'train', 'test'), places, strict=True):
        with pytest.raises(UserError, match=f'data of {part} are missing: {path}. .*split_ytvis'):
            check_data(plan)
        path.mkdir(parents=True)
    check_data(plan)
    # Those that will be made need not be there.
    check_data(make_plan(study, 'smoke', tmp_path / 'other', ['baseline']))
