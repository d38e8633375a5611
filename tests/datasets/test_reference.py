import tracemalloc
from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest

from vispropnet.datasets.reference import ReferenceSampler

MODES = ['random', 'ordered', 'window']


def of_video(annotated, mode, distance=None, **options):
    """A sampler of one video."""
    options['max_distance'] = distance if mode == 'window' else None
    return ReferenceSampler([len(annotated)], np.array(annotated, bool), mode, **options)


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def slow_others(frame, lengths, annotated, max_distance=100):
    """Annotated frames of the same video, nearest first on each side: (earlier, later)."""
    bounds = np.cumsum([0, *lengths])
    first = max(start for start in bounds if start <= frame)
    last = min(end for end in bounds if end > frame)
    near = [one for one in range(first, last) if abs(one - frame) <= max_distance]
    near = [one for one in near if annotated[one]]
    return [one for one in near[::-1] if one < frame], [one for one in near if one > frame]


@pytest.mark.parametrize('num_refs', [1, 2, 5])
def test_ordered_is_nearest_earlier_then_nearest_later_else_itself(draw, num_refs):
    lengths, annotated = [4, 1, 3], np.array([0, 1, 0, 1, 1, 0, 1, 0], bool)
    sampler = ReferenceSampler(lengths, annotated, 'ordered', num_refs)
    for frame in range(8):
        ordered = sum(slow_others(frame, lengths, annotated), []) or [frame]
        wanted = [ordered[number % len(ordered)] for number in range(num_refs)]
        assert sampler.sample(frame, draw) == wanted


def test_one_random_reference_takes_one_draw_over_the_others():
    sampler = ReferenceSampler([4, 1, 3], np.ones(8, bool), 'random')
    draw, again = np.random.default_rng(3), np.random.default_rng(3)
    for frame in [0, 1, 2, 3] * 20:
        others = [one for one in range(4) if one != frame]
        assert sampler.sample(frame, draw) == [others[int(again.integers(3))]]
    assert draw.integers(2**32) == again.integers(2**32)


SIX = [1, 1, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ('sampler', 'key', 'wanted'),
    [
        # A frame without objects, and another video.
        (ReferenceSampler([6, 2], np.array([*SIX, 1, 1]), 'random'), 1, [(0,), (3,), (4,), (5,)]),
        (of_video([1, 0, 1], 'random'), 1, [(0,), (2,)]),
        (of_video(SIX, 'random', num_refs=2), 3, list(permutations([0, 1, 4, 5], 2))),
        # Frame 0 before, frames 2, 3 and 4 behind.
        (of_video([1] * 10, 'window', 3), 1, [(0,), (2,), (3,), (4,)]),
        (of_video([1] * 5, 'window', 1, num_refs=2), 2, [(1, 3), (3, 1)]),
    ],
)
def test_all_come_alike(draw, sampler, key, wanted):
    drawn = Counter(tuple(sampler.sample(key, draw)) for _ in range(4000))
    assert set(drawn) == set(wanted)
    expected = 4000 / len(wanted)
    # At most four standard deviations.
    assert max(abs(count - expected) for count in drawn.values()) < 4 * expected**0.5


def test_window_takes_half_from_each_side_and_the_rest_from_what_is_left(draw):
    """Key frame 3 with 0, 1, 2 before it and 4, 5 behind: one of each side, then one of 3 left."""
    sampler = of_video([1] * 6, 'window', 5, num_refs=3)
    drawn = Counter(frozenset(sampler.sample(3, draw)) for _ in range(9000))
    sets = map(frozenset, product((0, 1, 2), (4, 5), (0, 1, 2, 4, 5)))
    expected = Counter(frames for frames in sets if len(frames) == 3 for _ in range(500))
    assert set(drawn) == set(expected)
    assert max(abs(drawn[frames] - count) for frames, count in expected.items()) < 180


@pytest.mark.parametrize('mode', MODES)
def test_no_frame_comes_twice_before_all_others_came(draw, mode):
    sampler = of_video([1] * 4, mode, 10, num_refs=7)
    for frame in [0, 1, 2, 3] * 20:
        found = sampler.sample(frame, draw)
        assert {*map(type, found)} == {int}
        assert {*found[:3]} == {*found[3:6]} == {*range(4)} - {frame} > {found[6]}
    assert of_video([1], mode, 10, num_refs=2).sample(0, draw) == [0, 0]


@pytest.mark.parametrize('max_distance', [1, 2, 3, 50])
@pytest.mark.parametrize('num_refs', [1, 2, 3, 4])
def test_window_draws_all_of_its_frames_and_no_others(draw, num_refs, max_distance):
    lengths = [9, 1, 4, 6]
    annotated = np.random.default_rng(1).random(20) < 0.6
    sampler = ReferenceSampler(lengths, annotated, 'window', num_refs, max_distance)
    for frame in range(20):
        earlier, later = slow_others(frame, lengths, annotated, max_distance)
        seen = set()
        for _ in range(60):
            found = sampler.sample(frame, draw)
            seen.update(found)
            for side in (earlier, later) if earlier and later else ():
                assert len({*found} & {*side}) >= min(num_refs // 2, len(side))
        assert seen == ({*earlier, *later} or {frame})


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mode='next'), "reference must be one of random, ordered, window, got 'next'"),
        (dict(mode='random', num_refs=-1), 'num_refs must be a whole number of 0 or more, got -1'),
        (dict(mode='random', num_refs=True), 'num_refs must be .* got True'),
        (dict(mode='ordered', num_refs=2.0), r'num_refs must be .* got 2\.0'),
        (dict(mode='window'), "'window' takes max_distance, .* of 1 or more, got None"),
        (dict(mode='window', max_distance=0), "'window' takes max_distance, .* got 0"),
        (dict(mode='random', max_distance=3), "for reference='window' only, .*=3 .*'random'"),
        (dict(mode='ordered', max_distance=0), "for reference='window' only, .*=0 .*'ordered'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ReferenceSampler([1], np.array([1], bool), **options)


@pytest.mark.parametrize(
    ('mode', 'num_refs', 'key', 'without', 'drawn'),
    [
        ('random', 1, 3, {2, 4}, {0, 1, 5, 6, 7}),
        ('ordered', 1, 3, {2, 4}, {1}),
        ('ordered', 1, 1, {0, 2}, {3}),
        ('window', 1, 3, {2, 4}, {0, 1, 5, 6}),
        ('random', 3, 4, {3, 5}, {0, 1, 2, 6, 7}),
        ('ordered', 3, 4, {3, 5}, {2, 1, 0}),
        ('window', 3, 4, {3, 5}, {1, 2, 6, 7}),
        *((mode, 2, 5, {0, 1, 2, 3, 4, 6, 7}, {5}) for mode in MODES),
    ],
)
def test_frames_left_out_are_never_drawn(draw, mode, num_refs, key, without, drawn):
    sampler = of_video([1] * 8, mode, 3, num_refs=num_refs)
    found = [sampler.sample(key, draw, without=without) for _ in range(100)]
    assert {*sum(found, [])} == drawn
    assert all(len(set(one)) == min(num_refs, len(drawn)) for one in found)
    if (mode, num_refs) == ('window', 3):
        assert all({*one} & {1, 2} and {*one} & {6, 7} for one in found)


@pytest.mark.parametrize('mode', MODES)
def test_long_videos_take_no_memory_to_draw_from(draw, mode):
    length = 1_000_000
    sampler = of_video(np.ones(length, bool), mode, 400_000, num_refs=4)
    tracemalloc.start()
    for frame in (0, 500_000, length - 1):
        found = sampler.sample(frame, draw)
        assert len(set(found)) == 4 and frame not in found
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000
