import cv2
import numpy as np

from vispropnet.visualization.palette import track_color


def lab(ids):
    colors = np.float32([[track_color(number) for number in ids]]) / 255
    return cv2.cvtColor(colors, cv2.COLOR_BGR2LAB)[0]


def test_every_integer_has_a_fixed_colour():
    # Pictures of different runs are compared by eye: a changed colour is a broken promise.
    expected = [(60, 70, 255), (255, 150, 40), (40, 205, 255), (180, 240, 165)]
    assert [track_color(number) for number in (1, 2, np.int64(3), 16)] == expected
    parts = [part for number in (-1, 0, 17, 10**9, 2**40) for part in track_color(number)]
    assert len(parts) == 15 and all(type(one) is int and 0 <= one <= 255 for one in parts)


def test_first_sixteen_ids_and_all_neighbours_are_far_apart():
    # In CIELAB, where 2 can just be told apart.
    for first in (0, 1):
        colors = lab(range(first, first + 16))
        distances = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
        assert distances[~np.eye(16, dtype=bool)].min() > 35
    colors = lab(range(1, 400))
    for step in (1, 2):
        assert np.linalg.norm(colors[step:] - colors[:-step], axis=-1).min() > 40
