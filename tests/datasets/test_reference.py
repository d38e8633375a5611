import numpy as np
import pytest

from vispropnet.datasets.reference import ReferenceSampler

LENGTHS = [4, 1, 3]
#             video 0: frames 0-3, video 1: frame 4, video 2: frames 5-7
ANNOTATED = np.array([0, 1, 0, 1, 1, 0, 1, 0], bool)


def slow_ordered(frame):
    start = int(np.searchsorted(np.cumsum(LENGTHS), frame, side='right'))
    first = int(np.cumsum([0, *LENGTHS])[start])
    last = first + LENGTHS[start]
    for other in range(frame - 1, first - 1, -1):
        if ANNOTATED[other]:
            return other
    for other in range(frame + 1, last):
        if ANNOTATED[other]:
            return other
    return frame


@pytest.mark.parametrize('frame', range(8))
def test_ordered_is_nearest_earlier_else_nearest_later_else_itself(frame):
    sampler = ReferenceSampler(LENGTHS, ANNOTATED, 'ordered')
    assert sampler.sample(frame, np.random.default_rng(0)) == slow_ordered(frame)


def test_ordered_by_hand():
    sampler = ReferenceSampler([3], np.array([1, 1, 1], bool), 'ordered')
    draw = np.random.default_rng(0)
    assert [sampler.sample(frame, draw) for frame in range(3)] == [1, 0, 1]


def test_random_draws_every_other_annotated_frame_alike():
    sampler = ReferenceSampler([6, 2], np.array([1, 1, 0, 1, 1, 0, 1, 1], bool), 'random')
    draw = np.random.default_rng(0)
    drawn = np.bincount([sampler.sample(1, draw) for _ in range(3000)], minlength=8)
    assert drawn[[1, 2, 5, 6, 7]].sum() == 0
    np.testing.assert_allclose(drawn[[0, 3, 4]] / 3000, 1 / 3, atol=0.04)


def test_random_of_an_unannotated_key_frame():
    sampler = ReferenceSampler([3], np.array([1, 0, 1], bool), 'random')
    draw = np.random.default_rng(0)
    assert {sampler.sample(1, draw) for _ in range(50)} == {0, 2}


@pytest.mark.parametrize('mode', ['random', 'ordered'])
def test_only_annotated_frame_is_its_own_reference(mode):
    sampler = ReferenceSampler(LENGTHS, ANNOTATED, mode)
    draw = np.random.default_rng(0)
    assert sampler.sample(4, draw) == 4
    assert sampler.sample(6, draw) == 6


def test_unknown_mode():
    with pytest.raises(ValueError, match="random, ordered, got 'next'"):
        ReferenceSampler([1], np.array([1], bool), 'next')


@pytest.mark.parametrize('mode', ['random', 'ordered'])
def test_frames_left_out_are_never_drawn(mode):
    sampler = ReferenceSampler([5, 2], np.ones(7, bool), mode)
    draw = np.random.default_rng(0)
    drawn = {sampler.sample(3, draw, without={2, 4}) for _ in range(50)}
    assert drawn == ({0, 1} if mode == 'random' else {1})
    assert {sampler.sample(1, draw, without={0, 2}) for _ in range(50)} == (
        {3, 4} if mode == 'random' else {3}
    )
    assert sampler.sample(6, draw, without={5}) == 6
