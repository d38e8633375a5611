import pytest
import torch
from mmdet.structures import DetDataSample
from torch import nn

from vispropnet.engine.loops import _VideoStepper
from vispropnet.errors import UserError


class Counter(nn.Module):
    """Counts the frames of a video in its state."""

    def data_preprocessor(self, batch, training):
        assert not training
        return batch

    def init_state(self):
        return 0

    def step(self, image, metainfo, state):
        return (metainfo['video_id'], state, float(image)), state + 1


def frames(video_id, count):
    for frame in range(count):
        sample = DetDataSample(metainfo=dict(video_id=video_id, frame_id=frame))
        yield dict(inputs=torch.tensor([10.0 * frame]), data_samples=[sample])


def test_every_video_starts_from_a_fresh_state():
    class Recording(Counter):
        seen = []

        def step(self, image, metainfo, state):
            found, state = super().step(image, metainfo, state)
            self.seen.append(found)
            from mmengine.structures import InstanceData

            return InstanceData(), state

    model = Recording()
    stepper = _VideoStepper(model, fp16=False)
    for batch in [*frames(4, 3), *frames(2, 1), *frames(7, 2)]:
        (sample,) = stepper(batch)
        assert 'pred_instances' in sample
    assert model.seen == [(4, 0, 0), (4, 1, 10), (4, 2, 20), (2, 0, 0), (7, 0, 0), (7, 1, 10)]


def test_batches_of_several_frames_are_refused():
    sample = next(frames(1, 1))['data_samples'][0]
    with pytest.raises(UserError, match='batch_size .* must be 1 .* found 2'):
        _VideoStepper(Counter(), fp16=False)(
            dict(inputs=torch.zeros(2), data_samples=[sample, sample])
        )
