import pytest

from vispropnet.datasets import samplers
from vispropnet.datasets.randomness import random_key
from vispropnet.datasets.samplers import SeededSampler, VideoSampler, share_videos


class FakeVideos:
    video_lengths = [2, 5, 1, 3]


def test_seeded_sampler_carries_seed_epoch_and_sample():
    sampler = SeededSampler(range(10), shuffle=True, seed=4)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert [random_key(index) for index in second] == [(4, 1, int(index)) for index in second]


def test_videos_are_shared_whole_and_evenly():
    # 5 to the first, 3 to the second, 2 to the second (3 < 5), 1 to either at 5 and 5: the first.
    assert share_videos([2, 5, 1, 3], 2) == [[1, 2], [0, 3]]
    assert share_videos([4], 3) == [[0], [], []]


@pytest.mark.parametrize('world_size', [1, 2, 3, 7])
def test_ranks_together_draw_every_frame_once_in_order(monkeypatch, world_size):
    drawn = []
    for rank in range(world_size):
        monkeypatch.setattr(samplers, 'get_dist_info', lambda rank=rank: (rank, world_size))
        sampler = VideoSampler(FakeVideos())
        frames = list(sampler)
        assert len(sampler) == len(frames)
        assert frames == sorted(frames)
        drawn += frames
    assert sorted(drawn) == list(range(11))
