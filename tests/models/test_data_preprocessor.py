import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes

from tests.models.small_models import SIZE, frame_sample
from vispropnet.models.data_preprocessor import VISDataPreprocessor, holds_clips

BOX = [2, 3, 12, 23]


def frame(number, size=SIZE):
    """An image of one value, and its ground truth with the number of the frame."""
    sample = frame_sample([BOX], [0], [number], frame_id=number, img_shape=size)
    sample.gt_instances.bboxes = HorizontalBoxes(sample.gt_instances.bboxes)
    return torch.full((3, *size), number, dtype=torch.uint8), sample


def batch_of(batch_size, num_frames, size=SIZE):
    """A batch as collated: frame t of clip b has the value and number 10 b + t."""
    batch = dict(inputs=[], data_samples=[])
    for place in range(num_frames):
        frames = [frame(10 * clip + place, size) for clip in range(batch_size)]
        images, samples = zip(*frames, strict=True)
        batch['inputs'].append(images)
        batch['data_samples'].append(samples)
    return batch


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(('batch_size', 'num_frames'), [(1, 2), (2, 2), (1, 3), (2, 3), (2, 1)])
def test_clips_come_one_after_the_other(batch_size, num_frames, training):
    preprocessor = VISDataPreprocessor(mean=[1.0] * 3, std=[2.0] * 3)
    data = preprocessor(batch_of(batch_size, num_frames), training)
    numbers = [10 * clip + place for clip in range(batch_size) for place in range(num_frames)]
    assert data['inputs'].shape == (batch_size * num_frames, 3, *SIZE)
    assert data['inputs'].mean(dim=(1, 2, 3)).tolist() == [(one - 1) / 2 for one in numbers]
    assert [len(clip) for clip in data['data_samples']] == [num_frames] * batch_size
    assert [one.frame_id for clip in data['data_samples'] for one in clip] == numbers


def test_all_frames_are_padded_alike():
    data = batch_of(1, 3, size=(40, 50))
    larger, sample = frame(7, (33, 70))
    data['inputs'][2], data['data_samples'][2] = (larger,), (sample,)
    data = VISDataPreprocessor(pad_size_divisor=32)(data, training=False)
    assert data['inputs'].shape == (3, 3, 64, 96)
    assert [one.batch_input_shape for one in data['data_samples'][0]] == [(64, 96)] * 3
    assert data['inputs'][2, :, :33, :70].eq(7).all()
    assert data['inputs'].sum() == 1 * 3 * 40 * 50 + 7 * 3 * 33 * 70


def test_single_frames_stay_single():
    images, samples = zip(frame(3), frame(4), strict=True)
    data = VISDataPreprocessor()(dict(inputs=list(images), data_samples=list(samples)))
    assert data['inputs'].shape == (2, 3, *SIZE)
    assert [one.frame_id for one in data['data_samples']] == [3, 4]


def test_batches_of_clips_are_told_from_frames():
    assert [holds_clips(one) for one in ([[1], [2]], [(1,)])] == [True, True]
    assert [holds_clips(one) for one in ([1, 2], [], None, {})] == [False] * 4
