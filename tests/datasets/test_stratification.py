import itertools
import random
import time

import pytest

from vispropnet.datasets.stratification import TRAIN, VALID, stratify

SEEDS = range(10)


def valid_share(held, sides, category):
    return sum(side == VALID for own, side in zip(held, sides, strict=True) if category in own)


@pytest.mark.parametrize('seed', SEEDS)
def test_each_category_gets_its_share(seed):
    held = [[0]] * 30 + [[1]] * 20 + [[]] * 10  # a fifth of each: 6, 4 and 2
    sides = stratify(held, 2, 12, seed)
    assert [sum(sides[:30]), sum(sides[30:50]), sum(sides[50:])] == [6, 4, 2]


@pytest.mark.parametrize('seed', SEEDS)
def test_a_rare_category_is_on_both_sides(seed):
    held = [[0]] * 18 + [[1]] * 2  # its share would be 0.2 of a video
    sides = stratify(held, 2, 2, seed)
    assert sum(sides[:18]) == 1 and sum(sides[18:]) == 1
    sides = stratify(held, 2, 18, seed)
    assert sum(sides[:18]) == 17 and sum(sides[18:]) == 1


@pytest.mark.parametrize('seed', SEEDS)
def test_what_one_video_holds_is_trained_on(seed):
    held = [[0], [1, 2], [1], [1], [1, 3]]
    sides = stratify(held, 4, 2, seed)
    assert [sides[0], sides[1], sides[4]] == [TRAIN] * 3
    assert sum(sides) == 2


@pytest.mark.parametrize('seed', SEEDS)
def test_what_one_video_holds_gives_way_to_others(seed):
    # Two videos for validation must bring categories 0, 1 and 3: the first one, which alone holds
    # category 2, and one of the last two.
    held = [[0, 2, 3], [0], [3], [1], [1]]
    sides = stratify(held, 4, 2, seed)
    assert sides[:3] == [VALID, TRAIN, TRAIN]
    assert sum(sides[3:]) == 1


@pytest.mark.parametrize('seed', SEEDS)
def test_no_side_is_without_objects(seed):
    assert stratify([[0], [1], []], 2, 1, seed)[2] == TRAIN
    assert stratify([[0], [1], []], 2, 2, seed)[2] == VALID


def missing(held, sides, num_categories):
    """Sides on which a category is missing that at least two videos hold."""
    found = 0
    for category in range(num_categories):
        own = [side for categories, side in zip(held, sides, strict=True) if category in categories]
        if len(own) > 1:
            found += (TRAIN not in own) + (VALID not in own)
    return found


def test_no_division_has_more_categories_on_both_sides():
    """Against trying all divisions."""
    draw = random.Random(3)
    with_missing = 0
    for seed in range(300):
        videos, categories = draw.randint(3, 9), draw.randint(1, 7)
        held = [
            sorted(draw.sample(range(categories), min(categories, draw.choice([0, 1, 1, 2, 3]))))
            for _ in range(videos)
        ]
        num_valid = draw.randint(1, videos - 1)
        sides = stratify(held, categories, num_valid, seed)
        assert sorted(sides) == [TRAIN] * (videos - num_valid) + [VALID] * num_valid
        fewest = min(
            missing(held, [VALID if one in chosen else TRAIN for one in range(videos)], categories)
            for chosen in itertools.combinations(range(videos), num_valid)
        )
        with_missing += fewest > 0
        assert missing(held, sides, categories) == fewest, (held, num_valid, seed)
    assert 10 < with_missing < 200


@pytest.mark.parametrize('fraction', [0.05, 0.1, 0.5])
def test_shares_of_a_set_of_the_official_size(fraction):
    draw = random.Random(0)
    weights = [1 / (2 + category) for category in range(40)]
    held = [
        sorted(set(draw.choices(range(40), weights, k=draw.choice([0, 1, 1, 1, 2, 3]))))
        for _ in range(3000)
    ]
    num_valid = round(fraction * 3000)
    counts = [sum(category in own for own in held) for category in range(40)]
    assert 20 < min(counts) < 40 and max(counts) > 500
    for seed in range(3):
        start = time.perf_counter()
        sides = stratify(held, 40, num_valid, seed)
        assert time.perf_counter() - start < 2  # 0.05 where nothing else runs
        assert sum(sides) == num_valid
        # Also of the most frequent one, whose videos are shared out last.
        for category, count in enumerate(counts):
            assert abs(valid_share(held, sides, category) - count * fraction) < 1
        empty = [side for own, side in zip(held, sides, strict=True) if not own]
        assert abs(sum(empty) - fraction * len(empty)) < 1


def test_the_seed_decides():
    held = [[0]] * 20
    assert stratify(held, 1, 5, 1) == stratify(held, 1, 5, 1)
    assert len({tuple(stratify(held, 1, 5, seed)) for seed in SEEDS}) > 5
