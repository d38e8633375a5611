import numpy as np
import pytest

from vispropnet.visualization.grid import BACKGROUND, BAR, CAPTION, GAP
from vispropnet.visualization.support import COLUMNS, CORNERS, SIDE, cell_colors, draw_support


def draw(current, others, box, places, spacing=(40, 40)):
    captions = [f'frame {number}' for number in range(1 + len(others))]
    return draw_support(current, others, box, np.array(places, float), spacing, 'a box', captions)


def panel(picture, number, size=(SIDE // 2, SIDE)):
    """One of the frames of a picture."""
    height, width = size
    top = BAR + CAPTION + number // COLUMNS * (CAPTION + height)
    left = number % COLUMNS * (width + GAP)
    return picture[top : top + height, left : left + width]


def at(frame, x, y):
    """The pixel at x and y of a frame that was enlarged."""
    scale = frame.shape[1] / 180
    return frame[int(y * scale), int(x * scale)].tolist()


def test_colours_of_cells_are_mixed_from_the_corners():
    colors = cell_colors(3, 5)
    assert colors[[0, 0, 2, 2], [0, 4, 0, 4]].tolist() == CORNERS.reshape(4, 3).astype(int).tolist()
    np.testing.assert_allclose(colors[1, 2], CORNERS.mean(axis=(0, 1)), atol=0.51)
    assert cell_colors(1, 1).tolist() == [[CORNERS[0, 0].astype(int).tolist()]]


@pytest.mark.parametrize('count', [1, 3, 5])
def test_dots_are_where_the_cells_look(count):
    gray = np.full((90, 180, 3), 100, np.uint8)
    # Two by two cells, which look at positions of 40x40 pixels: those on the left at the first,
    # those on the right at the second, and then all at the third.
    first, second, third = (20, 20), (60, 60), (140, 20)
    one = [[[first, third], [second, third]], [[first, third], [second, third]]]
    picture = draw(gray, [gray] * count, (20, 10, 60, 50), [one] * count)
    colors = CORNERS.astype(int).tolist()
    target = panel(picture, 0)
    # In the middle of each cell its colour.
    assert [at(target, x, y) for y in (20, 40) for x in (30, 50)] == colors[0] + colors[1]
    assert at(target, 100, 50) == [100] * 3 and min(at(target, 20, 30)) > 200
    for number in range(1, 1 + count):
        frame = panel(picture, number)
        # A position's dots stand as their cells do: 10 to each side of its middle.
        left = [at(frame, 20 + x, 20 + y) for y in (-10, 10) for x in (-10, 10)]
        assert left == [colors[0][0], [100] * 3, colors[1][0], [100] * 3]
        right = [at(frame, 60 + x, 60 + y) for y in (-10, 10) for x in (-10, 10)]
        assert right == [[100] * 3, colors[0][1], [100] * 3, colors[1][1]]
        last = [at(frame, 140 + x, 20 + y) for y in (-10, 10) for x in (-10, 10)]
        assert last == colors[0] + colors[1]
        # Smaller for what is less similar.
        assert at(frame, 20 - 10 + 4.5, 20 - 10) != [100] * 3 == at(frame, 140 - 10 + 4.5, 20 - 10)
    # Empty fields at the end of the last row.
    if count == 5:
        assert (panel(picture, 7) == BACKGROUND).all()


def test_large_frames_are_shrunk_and_one_cell_is_drawn():
    frame = np.zeros((1080, 1920, 3), np.uint8)
    picture = draw(frame, [frame], (100, 100, 900, 900), [[[[(960, 540)]]]], (64, 64))
    other = panel(picture, 1, (round(SIDE * 1080 / 1920), SIDE))
    middle = other[other.shape[0] // 2, other.shape[1] // 2].tolist()
    assert middle == CORNERS[0, 0].astype(int).tolist()
    assert not other[:20].any() and picture.shape[1] == 2 * SIDE + GAP
