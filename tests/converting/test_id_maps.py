"""Masks of a frame encoded all at once."""

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from vispropnet.converting.id_maps import id_map_rles


def one_by_one(ids):
    """What pycocotools makes of each object."""
    found = {}
    for value in np.unique(ids[ids > 0]).tolist():
        rle = mask_utils.encode(np.asfortranarray(ids == value, np.uint8))
        found[value] = {'size': rle['size'], 'counts': rle['counts'].decode()}
    return found


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('seed', range(5))
def test_equal_to_one_by_one(seed, dtype):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 40, 2))
    for most in (1, 2, 5, np.iinfo(dtype).max):
        ids = generator.integers(0, most, shape, endpoint=True).astype(dtype)
        ids = np.repeat(np.repeat(ids, 3, axis=0), 2, axis=1)
        assert id_map_rles(ids) == one_by_one(ids)


def test_empty_and_full_frames():
    assert id_map_rles(np.zeros((4, 5), np.uint8)) == {}
    assert id_map_rles(np.zeros((0, 5), np.uint8)) == {}
    # All pixels: no background, then 20 (two digits: 20 = 0b10100, of which the sign bit is set).
    assert id_map_rles(np.full((4, 5), 7, np.uint8)) == {7: {'size': [4, 5], 'counts': '0d0'}}
