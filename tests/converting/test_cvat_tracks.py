"""Shapes between keyframes, as CVAT interpolates them."""

import numpy as np
import pytest

from vispropnet.converting.cvat_tracks import Shape, all_shapes


def shape(frame, points, kind='polygon', outside=False, degrees=0.0):
    return Shape(kind, frame, outside, np.array(points, float), degrees)


def at(frame, keyframes, total=10):
    (found,) = (one for one in all_shapes(keyframes, total) if one.frame == frame)
    return found


def test_boxes_move_straight_and_turn_the_shorter_way():
    keyframes = [
        shape(0, [[0, 0], [10, 10]], 'box', degrees=350),
        shape(4, [[8, 4], [18, 14]], 'box', degrees=30),
    ]
    found = at(1, keyframes)
    assert found.points.tolist() == [[2, 1], [12, 11]] and found.degrees == 0
    assert at(3, keyframes).degrees == 20
    assert at(9, keyframes).points.tolist() == [[8, 4], [18, 14]]
    back = [shape(0, [[0, 0], [1, 1]], 'box', degrees=30)]
    back += [shape(2, [[0, 0], [1, 1]], 'box', degrees=350)]
    assert at(1, back).degrees == 10


def test_objects_that_are_outside_stay_away_until_the_next_keyframe():
    square = [[0, 0], [2, 0], [2, 2], [0, 2]]
    frames = [shape(1, square), shape(3, square, outside=True), shape(6, square)]
    assert [one.frame for one in all_shapes(frames, 8)] == [1, 2, 6, 7]
    assert [one.frame for one in all_shapes(frames[:2], 8)] == [1, 2]
    assert list(all_shapes([], 8)) == []
    assert [one.frame for one in all_shapes([shape(7, square)], 8)] == [7]


def test_masks_stand_on_their_own_frames():
    keyframes = [shape(frame, [[0, 0], [1, 1]], 'mask') for frame in (0, 3)]
    assert [one.frame for one in all_shapes(keyframes, 8)] == [0, 3]


def test_vertices_of_one_number_move_straight():
    first, last = [[0, 0], [4, 0], [4, 4], [0, 4]], [[4, 2], [8, 2], [8, 6], [4, 6]]
    found = at(1, [shape(0, first), shape(4, last)])
    assert found.points.tolist() == [[1, 0.5], [5, 0.5], [5, 4.5], [1, 4.5]]


def test_a_vertex_that_is_added_grows_out_of_the_nearest():
    # Places along the outlines: 0, 1/4, 2/4, 3/4, 1 and 0, 1/8, 2/8, 4/8, 6/8, 1. The vertex at
    # 1/8 is as near to 0 as to 1/4: the first of them it is.
    first = [[0, 0], [4, 0], [4, 4], [0, 4]]
    last = [[0, 0], [2, 0], [4, 0], [4, 4], [0, 4]]
    found = at(1, [shape(0, first), shape(2, last)])
    # The fan of the first vertex: (0, 0) and, moved by half of (2, 0), (1, 0). Its way on the later
    # outline is 2 long and has two vertices, so they must be 2 / 4 apart: they are.
    assert found.points.tolist() == [[0, 0], [1, 0], [4, 0], [4, 4], [0, 4]]


def test_vertices_that_come_too_close_are_dropped():
    # Both vertices at the top right become the one there: of the earlier outline they are 1 apart,
    # so less than 1 / 4 after nine tenths of the way, and their mean stands for them.
    first = [[0, 0], [7, 0], [8, 0], [8, 8], [0, 8]]
    last = [[0, 0], [8, 0], [8, 8], [0, 8]]
    found = at(9, [shape(0, first), shape(10, last)])
    assert found.points == pytest.approx(np.array([[0, 0], [7.95, 0], [8, 8], [0, 8]]))
    # After half of the way they are 0.5 apart, which is enough.
    found = at(5, [shape(0, first), shape(10, last)])
    assert found.points.tolist() == [[0, 0], [7.5, 0], [8, 0], [8, 8], [0, 8]]


def test_a_keyframe_of_one_point_does_no_harm():
    found = at(1, [shape(0, [[2, 2]] * 3), shape(2, [[0, 0], [4, 0], [4, 4]])])
    assert np.isfinite(found.points).all()
