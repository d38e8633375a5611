import itertools
import random
import time

import pytest

from vispropnet.datasets.stratification import TRAIN, VALID, stratify

SEEDS = range(10)


@pytest.mark.parametrize('seed', SEEDS)
@pytest.mark.parametrize(
    ('held', 'num_valid', 'parts', 'wanted'),
    [
        # A fifth of each.
        ([[0]] * 30 + [[1]] * 20 + [[]] * 10, 12, (30, 20, 10), [6, 4, 2]),
        # A rare category is on both sides, even if its share would be 0.2 of a video.
        ([[0]] * 18 + [[1]] * 2, 2, (18, 2), [1, 1]),
        ([[0]] * 18 + [[1]] * 2, 18, (18, 2), [17, 1]),
        # Categories 0, 2 and 3 are of one video each, which is trained on.
        ([[0], [1, 2], [1, 3], [1], [1]], 2, (3, 2), [0, 2]),
        # But two videos must bring categories 0, 1 and 3: the first one, which alone holds
        # category 2, and one of the last two.
        ([[0, 2, 3], [0], [3], [1], [1]], 2, (1, 2, 2), [1, 0, 1]),
        # No side is without objects.
        ([[0], [1], []], 1, (2, 1), [1, 0]),
        ([[0], [1], []], 2, (2, 1), [1, 1]),
    ],
)
def test_each_category_gets_its_share(held, num_valid, parts, wanted, seed):
    """Counts the validation videos in consecutive parts of all."""
    sides = iter(stratify(held, 4, num_valid, seed))
    assert [sum(itertools.islice(sides, part)) for part in parts] == wanted


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
    labels = [{*own, *(() if own else (40,))} for own in held]  # 40: no object
    counts = [sum(label in own for own in labels) for label in range(41)]
    assert 20 < min(counts) < 40 and max(counts) > 500
    for seed in range(3):
        start = time.perf_counter()
        sides = stratify(held, 40, round(fraction * 3000), seed)
        assert time.perf_counter() - start < 2  # 0.05 where nothing else runs
        assert sum(sides) == round(fraction * 3000)
        valid = [own for own, side in zip(labels, sides, strict=True) if side == VALID]
        # Also of the most frequent one, whose videos are shared out last.
        for label, count in enumerate(counts):
            assert abs(sum(label in own for own in valid) - count * fraction) < 1


def test_the_seed_decides():
    assert len({tuple(stratify([[0]] * 20, 1, 5, seed)) for seed in SEEDS}) > 5
