"""Shapes drawn as masks."""

import numpy as np
import pytest

from tests.converting.sources import picture, rle
from vispropnet.converting.shapes import Drawing, box_polygon, ellipse_polygon
from vispropnet.datasets.check_report import Report


@pytest.fixture
def report():
    return Report('source')


@pytest.fixture
def drawing(report):
    return Drawing((4, 6), report)


def test_parts_of_an_object_are_united(drawing, report):
    polygons = [[0, 0, 2, 0, 2, 2, 0, 2], [1, 0, 4, 0, 4, 1, 1, 1]]
    assert picture(drawing.polygons(polygons, {})) == '111100/110000/000000/000000'
    numpy = [np.float64(value) for value in polygons[0]]
    assert picture(drawing.polygons([numpy], {})) == '110000/110000/000000/000000'
    assert report.findings == []


@pytest.mark.parametrize(
    ('polygon', 'kind', 'mask'),
    [
        ([0, 0, 3, 3], 'polygon', None),
        ([0, 0, 3, 3, 1], 'polygon', None),
        ([0, 0, 3, 'x', 1, 1], 'polygon', None),
        ([0, 0, 3, float('nan'), 1, 1], 'polygon', None),
        ([0.1, 0.1, 0.5, 0.1, 0.5, 0.9], 'polygon', None),
        ([0, 0, 30, 0, 30, 30], 'polygon', None),
        ([3, 1, 3, 1, 3, 1], 'zero area', None),
        ([-3, -1.5, 2, -1.5, 2, 2, -3, 2], 'outside the frame', '110000/110000/000000/000000'),
        ([-0.5, -0.5, 6.5, -0.5, 6.5, 4.5, -0.5, 4.5], None, '/'.join(['111111'] * 4)),
    ],
)
def test_odd_polygons(drawing, report, polygon, kind, mask):
    assert picture(drawing.polygons([polygon], {'frame': 3})) == mask
    assert [(one.kind, one.where) for one in report.findings] == [(kind, {'frame': 3})] * bool(kind)


def test_run_lengths(drawing, report):
    text = '110000/110000/000000/000000'
    assert drawing.rle(rle(text), {}) == rle(text)
    assert picture(drawing.rle({'size': [4, 6], 'counts': [0, 2, 2, 2, 18]}, {})) == text
    assert drawing.rle({'size': [4, 6], 'counts': [24]}, {}, may_be_empty=True) is None
    assert report.findings == []
    for mask in (
        {'size': [6, 4], 'counts': rle(text)['counts']},
        {'size': [4, 6], 'counts': [24]},
        {'size': [4, 6], 'counts': '0'},
    ):
        assert drawing.rle(mask, {}) is None
    assert [one.kind for one in report.findings] == ['mask', 'zero area', 'mask']


def test_arrays_at_a_place(drawing, report):
    block = np.ones((2, 2), np.uint8)
    assert picture(drawing.array(block, 4, 2, {})) == '000000/000000/000011/000011'
    assert report.findings == []
    assert picture(drawing.array(block, -1, 3, {})) == '000000/000000/000000/100000'
    assert drawing.array(block, 6, 0, {}) is None
    assert drawing.array(block, -5, 0, {}) is None
    kinds = [one.kind for one in report.findings]
    assert kinds == ['outside the frame'] + ['outside the frame', 'zero area'] * 2


def test_corners_of_boxes_and_ellipses():
    assert box_polygon(1, 2, 5, 4) == [1, 2, 5, 2, 5, 4, 1, 4]
    # About (3, 3), the right side goes to the bottom.
    assert box_polygon(1, 2, 5, 4, 90) == pytest.approx([4, 1, 4, 5, 2, 5, 2, 1])
    points = np.reshape(ellipse_polygon(3, 2, 2, 1), (-1, 2))
    assert ((points - [3, 2]) ** 2 / [4, 1]).sum(axis=1) == pytest.approx(1)
    turned = np.reshape(ellipse_polygon(3, 2, 2, 1, 90), (-1, 2))
    assert turned[0] == pytest.approx([3, 4])
