import logging
from types import SimpleNamespace

import pytest
from mmdet.structures import DetDataSample

from vispropnet.datasets.bad_frames import METAINFO_KEY
from vispropnet.engine.hooks import bad_samples
from vispropnet.engine.hooks.bad_samples import BadSampleHook
from vispropnet.errors import UserError


def note(frame, file='a.json', limit=2):
    message = f'frame {frame} of video 7 ({frame}.jpg): damaged.'
    return dict(file=file, frames=200, limit=limit, frame=frame, message=message)


def batch(*found):
    """A batch of clips, one for each list of bad frames."""
    samples = [DetDataSample(metainfo={METAINFO_KEY: list(one)} if one else {}) for one in found]
    return dict(inputs=[], data_samples=[samples, [DetDataSample()] * len(samples)])


RUNNER = SimpleNamespace(logger=logging.getLogger('test_bad_sample_hook'))


def test_each_bad_frame_is_logged_once(caplog):
    hook = BadSampleHook()
    hook.before_train_iter(RUNNER, 0, batch([], [note(3)]))
    hook.before_train_iter(RUNNER, 1, batch([note(3), note(4)], [note(3, 'b.json')]))
    hook.before_train_iter(RUNNER, 2, batch([note(4)]))
    hook.after_train_epoch(RUNNER)
    assert caplog.messages == [
        f'bad frame left out ({count} so far; max_bad_fraction allows 2 of 200): frame {frame} of '
        f'video 7 ({frame}.jpg): damaged.'
        for count, frame in ((1, 3), (2, 4), (1, 3))
    ]
    caplog.clear()
    hook.after_train(RUNNER)
    assert caplog.messages == [
        f'{count} of 200 frames of {file} could not be used in this training.'
        for count, file in ((2, 'a.json'), (1, 'b.json'))
    ]


def test_too_many_bad_frames_end_training(monkeypatch):
    hook = BadSampleHook()
    hook.before_train_iter(RUNNER, 0, batch([note(1), note(2)]))
    with pytest.raises(UserError) as caught:
        hook.before_train_iter(RUNNER, 1, batch([note(3)]))
    message = str(caught.value)
    assert 'annotation file a.json: 3 of 200 frames turned out bad' in message
    assert all(f'frame {frame} of video 7' in message for frame in (1, 2, 3))
    # All that the ranks found.
    monkeypatch.setattr(bad_samples, 'all_gather_object', lambda own: [own, [note(2), note(3)]])
    hook = BadSampleHook()
    hook.before_train_iter(RUNNER, 0, batch([note(1)]))
    with pytest.raises(UserError, match='3 of 200 frames'):
        hook.after_train_epoch(RUNNER)


def test_clips_of_any_length_are_asked_and_batches_of_other_data_sets_pass(caplog):
    longer = batch([note(3)])
    longer['data_samples'].append([DetDataSample()])
    for data in (longer, None, {}, dict(data_samples=[DetDataSample()]), dict(data_samples=[])):
        BadSampleHook().before_train_iter(RUNNER, 0, data)
    assert len(caplog.messages) == 1
