import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils

from vispropnet.ops.mask_rle import encode_windows
from vispropnet.ops.paste import Window


def window(mask, left=0, top=0):
    """A (height, width) mask, column by column with an empty last row."""
    mask = torch.as_tensor(np.asarray(mask), dtype=torch.bool)
    bits = torch.zeros(mask.shape[1], mask.shape[0] + 1, dtype=torch.bool)
    bits[:, :-1] = mask.t()
    return Window(bits, left, top)


def of_pycocotools(mask):
    return mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))['counts'].decode()


def test_by_hand():
    # In a frame of 3 x 4 the two left columns are 0 off, 6 on, 6 off; the lower right pixel comes
    # after 11 others: chr(48 + 11), chr(48 + 1).
    windows = window(np.ones((3, 2))), window([[1]], left=3, top=2), window(np.zeros((0, 0)), 2, 1)
    expected = [dict(size=[3, 4], counts=counts) for counts in ('066', ';1', '<')]
    assert encode_windows([*windows], (3, 4)) == expected


@pytest.mark.parametrize('density', [0.02, 0.5, 0.98])
def test_equals_pycocotools_byte_by_byte(density):
    rng = np.random.default_rng(0)
    # As high as the frame, runs go on from column to column.
    parts = [(np.ones((23, 31)), 0, 0), (np.ones((23, 5)), 0, 0)]
    parts.append((rng.random((23, 31)) < density, 0, 0))
    for _ in range(200):
        left, top = rng.integers(31), rng.integers(23)
        size = rng.integers(0, 24 - top), rng.integers(0, 32 - left)
        parts.append((rng.random(size) < density, left, top))
    windows, expected = [window(*part) for part in parts], []
    for part, left, top in parts:
        full = np.zeros((23, 31), np.uint8)
        full[top:, left:][: part.shape[0], : part.shape[1]] = part
        expected.append(of_pycocotools(full))
    assert [rle['counts'] for rle in encode_windows(windows, (23, 31))] == expected
    assert encode_windows([], (23, 31)) == []


def test_runs_of_two_masks_are_kept_apart():
    # The first ends with the frame, the second begins with it.
    found = encode_windows([window(np.ones((2, 2)))] * 2, (2, 2))
    assert [rle['counts'] for rle in found] == ['04', '04']
    # The second begins at the pixel that the first ends before: 0 2 2, and 2 2.
    found = encode_windows([window(np.ones((2, 1)), left) for left in (0, 1)], (2, 2))
    assert [rle['counts'] for rle in found] == ['022', '22']


def test_long_runs():
    # 4320 x 7680 pixels: numbers of six digits of five bits.
    full = np.zeros((4320, 7680), bool)
    full[4000, 7000] = full[100, 7679] = True
    windows = [window([[1]], 7000, 4000), window(full[:, 6999:], 6999)]
    found = encode_windows(windows, full.shape)
    assert found[1]['counts'] == of_pycocotools(full) and mask_utils.area(found[0]) == 1
    assert mask_utils.toBbox(found[0]).tolist() == [7000, 4000, 1, 1]
