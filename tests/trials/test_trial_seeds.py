"""How many seeds a comparison needs, worked out with a table of Student's t."""

import pytest

from vispropnet.trials.seeds import MOST_SEEDS, seeds_to_tell


@pytest.mark.parametrize(
    ('difference', 'count'),
    [
        # t(0.975; 2) = 4.303: 0.0602 for two seeds, with the videos 0.0652;
        # t(0.975; 4) = 2.776: 0.0317 for three, 0.0404.
        (0.0653, 2),
        (0.05, 3),
        # t(0.975; 10) = 2.228: 0.0308 for six; t(0.975; 12) = 2.179: 0.0298 for seven.
        (0.03, 7),
        # The videos alone.
        (0.025, None),
    ],
)
def test_seeds_are_enough_where_both_errors_together_are_smaller(difference, count):
    assert seeds_to_tell(difference, deviation=0.014, over_videos=0.025) == count


def test_seeds_that_do_not_vary_need_two_and_there_is_an_end():
    assert seeds_to_tell(0.01, deviation=0.0, over_videos=0.009) == 2
    # t(0.975; 98) = 1.984: 0.397 standard deviations.
    assert seeds_to_tell(0.01, deviation=0.0251, over_videos=0.0) == MOST_SEEDS
    assert seeds_to_tell(0.01, deviation=0.0253, over_videos=0.0) is None
