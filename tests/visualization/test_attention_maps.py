import cv2
import numpy as np
import pytest

from vispropnet.visualization.attention_maps import MARK, Choice, draw_attention

WIDTH, HEIGHT = 160, 96
# Where the panels begin: margin, title and heads; three times as large, a gap of 12 between them.
TOP, LEFT, RIGHT = 20 + 34 + 22, 20, 20 + 480 + 12


def frame(level=100):
    picture = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
    picture[0, 0], picture[0, 1] = 0, 255  # so that stretching has a range
    return picture


def marked(panel):
    return (panel == MARK).all(axis=2)


def panels(picture):
    below = slice(TOP, TOP + 3 * HEIGHT)
    return picture[below, LEFT : LEFT + 480], picture[below, RIGHT : RIGHT + 480]


def test_cells_of_the_map_keep_their_edges():
    values = np.zeros((12, 20))
    values[4, 10] = 0.5
    values[7, 3] = 0.25
    picture = draw_attention(
        frame(), frame(), values, (8, 8), Choice(position=(30, 30)), notes=('one', 'two')
    )
    # Margins, two panels and gaps, the bar and its text; two lines below.
    assert picture.shape == (TOP + 288 + 8 + 2 * 22 + 20, 20 + 2 * (480 + 12) + 16 + 64 + 20, 3)
    _, right = panels(picture)
    # Cell (4, 10) is 24 x 24 pixels from (240, 96) on. Light yellow is the end of magma.
    light = right.min(axis=2) > 150
    rows, columns = np.nonzero(light)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (96, 119, 240, 263)
    assert light.sum() == 24 * 24
    # 0.9 of the last colour over 0.1 of the frame's grey: 20 + 130 * 100 / 255.
    last = cv2.applyColorMap(np.array([[255]], np.uint8), cv2.COLORMAP_MAGMA)[0, 0]
    np.testing.assert_allclose(right[108, 252], 0.9 * last + 0.1 * 70.98, atol=1)
    # Half of the maximum: 0.6 of the middle colour.
    middle = cv2.applyColorMap(np.array([[128]], np.uint8), cv2.COLORMAP_MAGMA)[0, 0]
    np.testing.assert_allclose(right[180, 84], 0.6 * middle + 0.4 * 70.98, atol=1)
    # Nothing: 0.3 of the first colour.
    first = cv2.applyColorMap(np.array([[0]], np.uint8), cv2.COLORMAP_MAGMA)[0, 0]
    np.testing.assert_allclose(right[200, 300], 0.3 * first + 0.7 * 70.98, atol=1)


def test_marks_are_around_what_was_chosen():
    values = np.full((12, 20), 1 / 240)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:40, 50:90] = True
    for choice in (Choice(box=(50, 20, 90, 40)), Choice(mask=mask)):
        picture = draw_attention(frame(), frame(), values, (8, 8), choice, (10, 30, 30, 60))
        for panel, (x0, y0, x1, y1) in zip(
            panels(picture), [(150, 60, 270, 120), (30, 90, 90, 180)], strict=True
        ):
            rows, columns = np.nonzero(marked(panel))
            found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            np.testing.assert_allclose(found, (x0, y0, x1, y1), atol=1)
            assert not marked(panel)[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].any()
    picture = draw_attention(frame(), frame(), values, (8, 8), Choice(position=(84, 30)))
    left, right = panels(picture)
    # The pixel's cell is 80 to 88 across and 24 to 32 down.
    assert marked(left)[72:96, 240].all() and marked(left)[72, 240:264].all()
    assert marked(left)[72:96, 263].all() and not marked(left)[76:92, 244:260].any()
    assert not marked(right).any()


@pytest.mark.parametrize(
    ('size', 'panel'), [((160, 96), 480), ((500, 300), 500), ((1920, 1080), 960), ((90, 160), 540)]
)
def test_frames_of_any_size(size, panel):
    picture = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    before = picture.copy()
    # Cells that are not whole pixels, of a map that reaches beyond the frame.
    drawn = draw_attention(
        picture, picture, np.eye(9), (size[0] / 8.5, size[1] / 7.3), Choice(position=(0, 0))
    )
    assert drawn.dtype == np.uint8 and drawn.shape[1] == 2 * (panel + 12) + 16 + 64 + 40
    assert drawn.shape[0] == TOP + round(panel * size[1] / size[0]) + 8 + 20
    np.testing.assert_array_equal(picture, before)


def test_a_map_of_nothing_and_a_frame_of_one_grey():
    plain = np.full((HEIGHT, WIDTH, 3), 80, np.uint8)
    drawn = draw_attention(plain, plain, np.zeros((12, 20)), (8, 8), Choice(position=(1, 1)))
    _, right = panels(drawn)
    assert (right == right[0, 0]).all()
