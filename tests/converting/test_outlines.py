"""Polygons around masks, drawn again as pycocotools does."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from vispropnet.converting.outlines import outlines_of


def drawn(polygons, shape):
    return mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(polygons, *shape)))


@pytest.mark.parametrize('seed', range(20))
def test_blobs_with_holes_come_back_to_the_pixel(seed):
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((60, 80))
    mask = cv2.GaussianBlur(noise, (0, 0), generator.uniform(0.5, 5)) > 0.02
    polygons = outlines_of(mask)
    assert min(map(len, polygons)) >= 6
    assert (drawn(polygons, mask.shape) == mask).all()


def test_corners_of_a_box_and_of_a_hole():
    mask = np.zeros((10, 12), np.uint8)
    mask[2:8, 2:9] = 1
    (box,) = outlines_of(mask)
    assert {*zip(box[::2], box[1::2], strict=True)} == {(2, 2), (9, 2), (9, 8), (2, 8)}
    mask[4:6, 4:6] = 0
    (outline,) = outlines_of(mask)
    # Both outlines, and twice the ends of the cut between them.
    assert len(outline) == 2 * (4 + 4 + 2) and (drawn([outline], mask.shape) == mask).all()


@pytest.mark.parametrize(
    'rows, columns', [((0, 1), (0, 1)), ((9, 10), (11, 12)), ((0, 10), (0, 12))]
)
def test_the_edges_of_the_frame(rows, columns):
    mask = np.zeros((10, 12), np.uint8)
    mask[slice(*rows), slice(*columns)] = 1
    assert (drawn(outlines_of(mask), mask.shape) == mask).all()


def test_no_pixels():
    assert outlines_of(np.zeros((4, 5), bool)) == []
