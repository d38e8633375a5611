from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import ValLoop
from torch.utils.data import DataLoader

from tests.engine.test_inference import same, video
from tests.models.delayed import BrightPixels
from vispropnet.datasets.samplers import VideoSampler
from vispropnet.engine.inference import VideoRun
from vispropnet.engine.loops import VideoValLoop, _VideoStepper
from vispropnet.errors import UserError


def batches(*videos):
    """Frames of videos, one after the other, as a loader gives them."""
    for images, samples in videos:
        for image, sample in zip(images, samples, strict=True):
            yield dict(inputs=[image], data_samples=[sample.clone()])


def test_every_video_starts_from_a_fresh_state_and_comes_frame_by_frame():
    stepper = _VideoStepper(BrightPixels(), fp16=False, batch=None)
    outputs = [stepper(batch) for batch in batches(video(3, 4), video(1, 2), video(2, 7))]
    scores = [[one.pred_instances.scores[0].item() for one in some] for some in outputs]
    # The model's scores are 1 by the frames of the video so far.
    assert scores == [[1], [1 / 2], [pytest.approx(1 / 3)], [1], [1], [1 / 2]]
    places = [(one.video_id, one.frame_id) for some in outputs for one in some]
    assert places == [(4, 0), (4, 1), (4, 2), (2, 0), (7, 0), (7, 1)]
    images, samples = video(2)
    with pytest.raises(UserError, match=r'batch_size .* must be 1 .* found 2.* pass --batch'):
        _VideoStepper(BrightPixels(), False, 1)(dict(inputs=images, data_samples=samples))


@pytest.mark.parametrize('batch', [1, 2, 4])
@pytest.mark.parametrize('look_ahead', [0, 3])
def test_samples_are_handed_on_when_they_are_answered(look_ahead, batch):
    videos = [video(5, 1), video(2, 2), video(1, 3), video(9, 4)]
    plain = _VideoStepper(BrightPixels(), False, 1)
    expected = [one for some in map(plain, batches(*videos)) for one in some]
    model = BrightPixels(look_ahead)
    outputs = list(map(_VideoStepper(model, False, batch), batches(*videos)))
    # With its last frame a video is answered, whatever lags: after 5, 7, 8 and 17 frames.
    assert [sum(map(len, outputs[:count])) for count in (5, 7, 8, 17)] == [5, 7, 8, 17]
    found = [one for some in outputs for one in some]
    for one, other in zip(found, expected, strict=True):
        assert (one.video_id, one.frame_id) == (other.video_id, other.frame_id)
        same(one.pred_instances, other.pred_instances)
    # No batch spans two videos.
    parts = {1: [1] * 17, 2: [2, 2, 1, 2, 1, 2, 2, 2, 2, 1], 4: [4, 1, 2, 1, 4, 4, 1]}
    assert model.encoded == parts[batch]
    assert model.most_held <= look_ahead + 1


@pytest.mark.parametrize('batch', [1, 2, 4])
def test_the_overview_of_each_video_comes_first(batch):
    """Videos of fewer frames than the overview has are seen whole."""
    videos = [video(5, 1), video(2, 2), video(1, 3), video(9, 4)]
    places = [[0, 2, 4], [0, 1], [0], [0, 4, 8]]
    model, expected = BrightPixels(overview=3), []
    for (images, samples), chosen in zip(videos, places, strict=True):
        progress = VideoRun(BrightPixels(overview=3))
        progress.look_over([images[one] for one in chosen], [samples[one] for one in chosen])
        expected += [found for _, found in progress.answers(images, samples)]
    drawn = [
        ([images[one] for one in order], [samples[one] for one in order])
        for (images, samples), chosen in zip(videos, places, strict=True)
        for order in [[*chosen, *range(len(images))]]
    ]
    outputs = [
        one for some in map(_VideoStepper(model, False, batch), batches(*drawn)) for one in some
    ]
    assert model.looked_over == sum(places, [])
    assert [one.frame_id for one in outputs] == [n for count in (5, 2, 1, 9) for n in range(count)]
    for one, other in zip(outputs, expected, strict=True):
        same(one.pred_instances, other)


def test_a_sampler_that_gives_no_overview_is_refused(monkeypatch):
    monkeypatch.setattr(ValLoop, 'run', lambda loop: len(loop.dataloader))
    runner = SimpleNamespace(model=BrightPixels(overview=2))
    sampler = VideoSampler(SimpleNamespace(video_lengths=[3]))
    loader = DataLoader([0, 1, 2], sampler=sampler)
    loop = VideoValLoop.__new__(VideoValLoop)
    vars(loop).update(_runner=runner, fp16=False, batch=1, dataloader=loader)
    assert loop.run() == 5
    vars(loop).update(dataloader=DataLoader([0, 1, 2]))
    with pytest.raises(UserError, match=r"looks over 2 frames .*'VideoSampler'\), found a Sequent"):
        loop.run()


@pytest.mark.parametrize('batch', [1, 2])
def test_the_last_frame_of_a_video_brings_the_scores_of_its_tracks(batch, monkeypatch):
    model = BrightPixels(look_ahead=1)
    stepper, frames = _VideoStepper(model, False, batch), list(batches(video(3, 1), video(1, 2)))
    assert not any('track_scores' in one for some in map(stepper, frames) for one in some)
    monkeypatch.setattr(model, 'track_scores', lambda state: ('rated', state), raising=False)
    found = [one for some in map(stepper, frames) for one in some]
    assert ['track_scores' in one for one in found] == [False, False, True, True]
    assert found[2].track_scores[0] == 'rated' and found[2].track_scores != found[3].track_scores


def test_images_are_let_go_of_and_gradients_are_off():
    """What waits for its answer is kept without its image."""
    model, seen = BrightPixels(look_ahead=3), []
    encode = model.encode
    model.encode = lambda images: seen.append(torch.is_grad_enabled()) or encode(images)
    stepper = _VideoStepper(model, False, 2)
    for count, batch in enumerate(batches(video(9)), start=1):
        stepper(batch)
        assert len(stepper._frames) == count % 2 * (count < 9)
        assert len(stepper._samples) <= 3 + 2
    assert not stepper._samples and seen == [False] * 5
