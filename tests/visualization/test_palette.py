import cv2
import numpy as np
import pytest

from vispropnet.visualization.palette import track_color


def lab(ids):
    colors = np.float32([[track_color(number) for number in ids]]) / 255
    return cv2.cvtColor(colors, cv2.COLOR_BGR2LAB)[0]


def test_colours_are_fixed():
    # Pictures of different runs are compared by eye: a changed colour is a broken promise.
    assert track_color(1) == (60, 70, 255)
    assert track_color(2) == (255, 150, 40)
    assert track_color(16) == (180, 240, 165)
    assert track_color(np.int64(3)) == track_color(3) == (40, 205, 255)


@pytest.mark.parametrize('first', [0, 1])
def test_first_sixteen_ids_are_far_apart(first):
    colors = lab(range(first, first + 16))
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    assert distances[~np.eye(16, dtype=bool)].min() > 35  # CIELAB; 2 can just be told apart


def test_neighbouring_ids_are_clearly_distinct_however_many():
    colors = lab(range(1, 400))
    for step in (1, 2):
        assert np.linalg.norm(colors[step:] - colors[:-step], axis=-1).min() > 40


@pytest.mark.parametrize('number', [-1, 0, 17, 10**9, 2**40])
def test_every_integer_has_a_colour(number):
    color = track_color(number)
    assert len(color) == 3
    assert all(isinstance(part, int) and 0 <= part <= 255 for part in color)
