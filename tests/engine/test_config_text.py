"""A config whose text is formatted once."""

import copy
import pickle

import pytest
from mmengine.config import Config
from yapf.yapflib import yapf_api

from vispropnet.engine.config_text import FormattedOnceConfig


@pytest.fixture
def formatted(monkeypatch):
    """What was formatted, in order."""
    texts = []
    format_code = yapf_api.FormatCode

    def remembered(text, **more):
        texts.append(text)
        return format_code(text, **more)

    monkeypatch.setattr(yapf_api, 'FormatCode', remembered)
    return texts


def test_text_is_that_of_the_library_and_follows_changes(formatted):
    theirs = Config(dict(model=dict(type='A', size=2), epochs=3))
    ours = FormattedOnceConfig.of(theirs)
    text = theirs.pretty_text
    assert [ours.pretty_text for _ in range(3)] == [text] * 3
    assert len(formatted) == 2
    ours.model.size = 5
    assert 'size=5' in ours.pretty_text and len(formatted) == 3
    ours.epochs = 4
    assert 'epochs = 4' in ours.pretty_text and len(formatted) == 4


def test_copies_take_the_text_along_and_change_alone(formatted):
    ours = FormattedOnceConfig.of(Config(dict(model=dict(type='A'))))
    text = ours.pretty_text
    other = copy.deepcopy(ours)
    assert other.pretty_text == text and len(formatted) == 1
    other.model.type = 'B'
    assert "type='B'" in other.pretty_text and ours.pretty_text == text
    again = pickle.loads(pickle.dumps(ours))
    assert type(again) is FormattedOnceConfig and again.pretty_text == text
