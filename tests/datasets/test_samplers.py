from types import SimpleNamespace

import pytest

from vispropnet.datasets import samplers
from vispropnet.datasets.samplers import SeededSampler, VideoSampler, share_videos


def test_seeded_sampler_carries_seed_epoch_and_sample():
    sampler = SeededSampler(range(10), shuffle=True, seed=4)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    assert [index.key for index in second] == [(4, 1, int(index)) for index in second]


def test_videos_are_shared_whole_and_evenly():
    # 5 to the first, 3 to the second, 2 to the second (3 < 5), 1 to either at 5 and 5: the first.
    assert share_videos([2, 5, 1, 3], 2) == [[1, 2], [0, 3]]
    assert share_videos([4], 3) == [[0], [], []]


@pytest.mark.parametrize('world_size', [1, 2, 3, 7])
def test_ranks_together_draw_every_frame_once_in_order(monkeypatch, world_size):
    drawn = []
    for rank in range(world_size):
        monkeypatch.setattr(samplers, 'get_dist_info', lambda rank=rank: (rank, world_size))
        sampler = VideoSampler(SimpleNamespace(video_lengths=[2, 5, 1, 3]))
        frames = list(sampler)
        assert len(sampler) == len(frames)
        assert frames == sorted(frames)
        drawn += frames
    assert sorted(drawn) == list(range(11))


@pytest.mark.parametrize('overview', [0, 1, 3, 9])
def test_the_overview_of_a_video_comes_before_its_frames(monkeypatch, overview):
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (1, 2))
    sampler = VideoSampler(SimpleNamespace(video_lengths=[2, 5, 1, 3]))  # the first and last
    sampler.overview = overview
    first = {0: [], 1: [0], 3: [0, 1], 9: [0, 1]}[overview]
    last = {0: [], 1: [8], 3: [8, 9, 10], 9: [8, 9, 10]}[overview]
    expected = [*first, 0, 1, *last, 8, 9, 10]
    assert list(sampler) == expected and len(sampler) == len(expected)


def test_each_iteration_trains_on_the_same_samples_for_any_number_of_ranks(monkeypatch):
    """Six clips an iteration in all; what is random about a clip goes with its key."""

    def keys_of(rank, world_size):
        patched = 'mmengine.dataset.sampler.get_dist_info'
        monkeypatch.setattr(patched, lambda: (rank, world_size))
        return [index.key for index in SeededSampler(range(24), shuffle=True, seed=4)]

    alone = keys_of(0, 1)
    for world_size in (2, 3):
        keys = [keys_of(rank, world_size) for rank in range(world_size)]
        for first in range(0, 24, 6):
            own = slice(first // world_size, (first + 6) // world_size)
            drawn = [key for rank in keys for key in rank[own]]
            assert sorted(drawn) == sorted(alone[first : first + 6])
