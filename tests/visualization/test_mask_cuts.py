import numpy as np
import pytest

from tests.visualization.blocks import encode
from vispropnet.visualization.mask_cuts import MaskCuts


@pytest.fixture
def masks():
    """A block, scattered pixels, nothing, all, and one pixel in the corner."""
    made = np.zeros((5, 7, 9), bool)
    made[0, 2:5, 3:8] = True
    made[1] = np.random.default_rng(0).random((7, 9)) < 0.2
    made[3] = True
    made[4, 6, 8] = True
    return made


@pytest.mark.parametrize('encoded', [False, True])
def test_boxes_areas_and_cut_outs(masks, encoded):
    cuts = MaskCuts([encode(mask) for mask in masks] if encoded else masks, 7, 9)
    assert cuts.boxes[0] == (3, 2, 8, 5)
    assert cuts.boxes[2:] == [None, (0, 0, 9, 7), (8, 6, 9, 7)]
    assert cuts.areas == [15, masks[1].sum(), 0, 63, 1]
    for index, corner, shape in ((0, (2, 1), (5, 7)), (3, (0, 0), (7, 9)), (4, (7, 5), (2, 2))):
        cut, found = cuts.cut_out(index)
        assert (found, cut.shape) == (corner, shape)
        assert cut.dtype == np.uint8
        assert cut.flags.c_contiguous
    for index in (0, 1, 3, 4):
        cut, (x, y) = cuts.cut_out(index)
        whole = np.zeros((7, 9), np.uint8)
        whole[y : y + cut.shape[0], x : x + cut.shape[1]] = cut
        assert (whole == masks[index]).all()


def test_any_columns_are_cut_out_of_encoded_masks():
    generator = np.random.default_rng(1)
    for _ in range(30):
        mask = np.zeros((7, 9), bool)
        x0, x1 = sorted(generator.choice(10, 2, replace=False))
        mask[:, x0:x1] = generator.random((7, x1 - x0)) < 0.5
        if not mask.any():
            continue
        (plain, place), (encoded, other) = (
            MaskCuts(masks, 7, 9).cut_out(0) for masks in (mask[None], [encode(mask)])
        )
        assert place == other and (plain == encoded).all()


def test_no_masks():
    for none in ([], (), np.zeros((0, 7, 9), bool)):
        cuts = MaskCuts(none, 7, 9)
        assert (cuts.boxes, cuts.areas) == ([], [])


def test_wrong_sizes_are_named(masks):
    with pytest.raises(ValueError, match=r'masks must be \(9, 7\), got one of \(7, 9\)'):
        MaskCuts(masks, 9, 7)
    with pytest.raises(ValueError, match=r'masks must be \(9, 7\), got one of \(7, 9\)'):
        MaskCuts([encode(masks[0])], 9, 7)
