import tracemalloc
from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from vispropnet.datasets.reference import ReferenceSampler

LENGTHS = [4, 1, 3]
#             video 0: frames 0-3, video 1: frame 4, video 2: frames 5-7
ANNOTATED = np.array([0, 1, 0, 1, 1, 0, 1, 0], bool)


def of_video(annotated, mode, **options):
    """A sampler of one video."""
    return ReferenceSampler([len(annotated)], np.array(annotated, bool), mode, **options)


def slow_others(frame, lengths, annotated, max_distance=None):
    """Annotated frames of the same video, nearest first on each side: (earlier, later)."""
    bounds = np.cumsum([0, *lengths])
    first = max(start for start in bounds[:-1] if start <= frame)
    last = min(end for end in bounds if end > frame)
    sides = range(frame - 1, first - 1, -1), range(frame + 1, last)
    return [
        [
            other
            for other in side
            if annotated[other] and (max_distance is None or abs(other - frame) <= max_distance)
        ]
        for side in sides
    ]


def slow_ordered(frame, num_refs):
    earlier, later = slow_others(frame, LENGTHS, ANNOTATED)
    ordered = (earlier + later) or [frame]
    return [ordered[number % len(ordered)] for number in range(num_refs)]


@pytest.mark.parametrize('num_refs', [1, 2, 5])
@pytest.mark.parametrize('frame', range(8))
def test_ordered_is_nearest_earlier_then_nearest_later_else_itself(frame, num_refs):
    sampler = ReferenceSampler(LENGTHS, ANNOTATED, 'ordered', num_refs)
    assert sampler.sample(frame, np.random.default_rng(0)) == slow_ordered(frame, num_refs)


def test_ordered_by_hand():
    draw = np.random.default_rng(0)
    sampler = of_video([1, 1, 1], 'ordered')
    assert [sampler.sample(frame, draw) for frame in range(3)] == [[1], [0], [1]]
    gaps = of_video([1, 0, 1, 1, 1, 0, 1], 'ordered', num_refs=3)
    assert gaps.sample(3, draw) == [2, 0, 4]
    assert gaps.sample(0, draw) == [2, 3, 4]
    assert gaps.sample(6, draw) == [4, 3, 2]
    assert gaps.sample(5, draw) == [4, 3, 2]


def test_random_draws_every_other_annotated_frame_alike():
    sampler = ReferenceSampler([6, 2], np.array([1, 1, 0, 1, 1, 0, 1, 1], bool), 'random')
    draw = np.random.default_rng(0)
    drawn = np.bincount([sampler.sample(1, draw)[0] for _ in range(3000)], minlength=8)
    assert drawn[[1, 2, 5, 6, 7]].sum() == 0
    np.testing.assert_allclose(drawn[[0, 3, 4]] / 3000, 1 / 3, atol=0.04)


def test_one_random_reference_takes_one_draw_over_the_others():
    sampler = ReferenceSampler(LENGTHS, np.ones(8, bool), 'random')
    draw, again = np.random.default_rng(3), np.random.default_rng(3)
    for frame in [0, 1, 2, 3] * 20:
        others = [one for one in range(4) if one != frame]
        assert sampler.sample(frame, draw) == [others[int(again.integers(3))]]
    assert draw.integers(2**32) == again.integers(2**32)


def test_random_of_an_unannotated_key_frame():
    sampler = of_video([1, 0, 1], 'random')
    draw = np.random.default_rng(0)
    assert {sampler.sample(1, draw)[0] for _ in range(50)} == {0, 2}


def test_several_random_references_come_in_every_order_alike():
    sampler = of_video([1, 1, 0, 1, 1, 1], 'random', num_refs=2)
    draw = np.random.default_rng(0)
    drawn = Counter(tuple(sampler.sample(3, draw)) for _ in range(6000))
    expected = set(permutations([0, 1, 4, 5], 2))
    assert set(drawn) == expected
    # 500 of each of the 12; a standard deviation is 21.
    assert max(abs(count - 500) for count in drawn.values()) < 90


@pytest.mark.parametrize('num_refs', [1, 2, 5])
@pytest.mark.parametrize('length', [1, 2, 3, 7])
@pytest.mark.parametrize('mode', ['random', 'ordered', 'window'])
def test_no_frame_comes_twice_before_all_others_came(mode, length, num_refs):
    options = dict(max_distance=10) if mode == 'window' else {}
    sampler = of_video([1] * length, mode, num_refs=num_refs, **options)
    draw = np.random.default_rng(0)
    for frame in list(range(length)) * 20:
        found = sampler.sample(frame, draw)
        assert len(found) == num_refs and all(type(one) is int for one in found)
        others = length - 1
        if others == 0:
            assert found == [frame] * num_refs
            continue
        assert set(found) <= set(range(length)) - {frame}
        for start in range(0, num_refs, others):
            part = found[start : start + others]
            assert len(set(part)) == len(part)


@pytest.mark.parametrize('max_distance', [1, 2, 3, 50])
@pytest.mark.parametrize('num_refs', [1, 2, 3, 4])
def test_window_draws_all_of_its_frames_and_no_others(num_refs, max_distance):
    lengths = [9, 1, 4, 6]
    annotated = np.random.default_rng(1).random(20) < 0.6
    sampler = ReferenceSampler(lengths, annotated, 'window', num_refs, max_distance)
    draw = np.random.default_rng(0)
    for frame in range(20):
        earlier, later = slow_others(frame, lengths, annotated, max_distance)
        seen = set()
        for _ in range(60):
            found = sampler.sample(frame, draw)
            seen.update(found)
            if num_refs >= 2 and earlier and later:
                half = num_refs // 2
                assert len({*found} & {*earlier}) >= min(half, len(earlier))
                assert len({*found} & {*later}) >= min(half, len(later))
        assert seen == ({*earlier, *later} or {frame})


def test_one_reference_of_the_window_is_any_frame_alike():
    sampler = of_video([1] * 10, 'window', max_distance=3)
    draw = np.random.default_rng(0)
    drawn = np.bincount([sampler.sample(1, draw)[0] for _ in range(4000)], minlength=10)
    # Frame 0 before, frames 2, 3 and 4 behind: 1000 of each; a standard deviation is 27.
    assert np.flatnonzero(drawn).tolist() == [0, 2, 3, 4]
    assert abs(drawn[[0, 2, 3, 4]] - 1000).max() < 110


def test_window_takes_half_from_each_side_and_the_rest_from_what_is_left():
    """Key frame 3 with 0, 1, 2 before it and 4, 5 behind: one of each side, then one of 3 left."""
    sampler = of_video([1] * 6, 'window', num_refs=3, max_distance=5)
    draw = np.random.default_rng(0)
    drawn = Counter(frozenset(sampler.sample(3, draw)) for _ in range(9000))
    expected = Counter()
    for one in (0, 1, 2):
        for other in (4, 5):
            for rest in {0, 1, 2, 4, 5} - {one, other}:
                expected[frozenset((one, other, rest))] += 1 / 18
    assert set(drawn) == set(expected)
    for frames, share in expected.items():
        assert drawn[frames] / 9000 == pytest.approx(share, abs=0.02)


def test_references_of_the_window_come_in_random_order():
    sampler = of_video([1] * 5, 'window', num_refs=2, max_distance=1)
    draw = np.random.default_rng(0)
    drawn = Counter(tuple(sampler.sample(2, draw)) for _ in range(1000))
    assert set(drawn) == {(1, 3), (3, 1)}
    assert abs(drawn[1, 3] - 500) < 70


@pytest.mark.parametrize('num_refs', [1, 2, 5])
def test_empty_window_gives_the_key_frame(num_refs):
    sampler = of_video([1, 0, 0, 1, 0, 0, 1], 'window', num_refs=num_refs, max_distance=2)
    assert sampler.sample(3, np.random.default_rng(0)) == [3] * num_refs
    filled = of_video([1, 1, 1], 'window', num_refs=num_refs, max_distance=1)
    assert filled.sample(2, np.random.default_rng(0), without={1}) == [2] * num_refs


@pytest.mark.parametrize('num_refs', [1, 2, 5])
@pytest.mark.parametrize('mode', ['random', 'ordered'])
def test_only_annotated_frame_is_its_own_reference(mode, num_refs):
    sampler = ReferenceSampler(LENGTHS, ANNOTATED, mode, num_refs)
    draw = np.random.default_rng(0)
    assert sampler.sample(4, draw) == [4] * num_refs
    assert sampler.sample(6, draw) == [6] * num_refs


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mode='next'), "reference must be one of random, ordered, window, got 'next'"),
        (dict(mode='random', num_refs=0), 'num_refs must be a whole number of 1 or more, got 0'),
        (dict(mode='random', num_refs=True), 'num_refs must be .* got True'),
        (dict(mode='ordered', num_refs=2.0), r'num_refs must be .* got 2\.0'),
        (dict(mode='ordered', num_refs='2'), "num_refs must be .* got '2'"),
        (dict(mode='window'), "'window' takes max_distance, .* of 1 or more, got None"),
        (dict(mode='window', max_distance=0), "'window' takes max_distance, .* got 0"),
        (dict(mode='window', max_distance=True), "'window' takes max_distance, .* got True"),
        (dict(mode='window', max_distance=1.5), r"'window' takes max_distance, .* got 1\.5"),
        (dict(mode='random', max_distance=3), "for reference='window' only, .*=3 .*'random'"),
        (dict(mode='ordered', max_distance=0), "for reference='window' only, .*=0 .*'ordered'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ReferenceSampler([1], np.array([1], bool), **options)


@pytest.mark.parametrize('mode', ['random', 'ordered'])
def test_frames_left_out_are_never_drawn(mode):
    sampler = ReferenceSampler([5, 2], np.ones(7, bool), mode)
    draw = np.random.default_rng(0)
    drawn = {sampler.sample(3, draw, without={2, 4})[0] for _ in range(50)}
    assert drawn == ({0, 1} if mode == 'random' else {1})
    assert {sampler.sample(1, draw, without={0, 2})[0] for _ in range(50)} == (
        {3, 4} if mode == 'random' else {3}
    )
    assert sampler.sample(6, draw, without={5}) == [6]


@pytest.mark.parametrize('mode', ['random', 'ordered', 'window'])
def test_several_references_without_frames_left_out(mode):
    options = dict(max_distance=3) if mode == 'window' else {}
    sampler = of_video([1] * 8, mode, num_refs=3, **options)
    draw = np.random.default_rng(0)
    found = [sampler.sample(4, draw, without={3, 5}) for _ in range(100)]
    near = {1, 2, 6, 7} if mode == 'window' else {0, 1, 2, 6, 7}
    assert {*sum(found, [])} == ({2, 1, 0} if mode == 'ordered' else near)
    assert all(len(set(one)) == 3 for one in found)
    if mode == 'window':
        assert all({*one} & {1, 2} and {*one} & {6, 7} for one in found)


@pytest.mark.parametrize('mode', ['random', 'ordered', 'window'])
def test_long_videos_take_no_memory_to_draw_from(mode):
    length = 10_000_000
    options = dict(max_distance=4_000_000) if mode == 'window' else {}
    sampler = of_video(np.ones(length, bool), mode, num_refs=4, **options)
    draw = np.random.default_rng(0)
    tracemalloc.start()
    try:
        for frame in (0, 5_000_000, length - 1):
            found = sampler.sample(frame, draw)
            assert len(set(found)) == 4 and frame not in found
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000
