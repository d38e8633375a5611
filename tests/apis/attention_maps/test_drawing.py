import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle

from vispropnet.apis.attention_maps.drawing import MARK, attention_figure, draw_attention

WIDTH, HEIGHT = 160, 96


def frame():
    picture = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    picture[0, 0], picture[0, 1] = 0, 255  # so that stretching has a range
    picture[50, 60] = (255, 0, 0)  # blue
    return picture


def test_the_map_lies_over_the_reference_frame_in_its_cells():
    values, heads = np.zeros((12, 21)), ('left', 'right')  # the last column is beyond the frame
    values[4, 10], values[7, 3] = 0.5, 0.25
    texts = 'title', heads, ('one', '$two$')
    figure = attention_figure(frame(), frame(), values, (8, 8), (30, 30), None, *texts)
    left, right, bar = figure.axes
    assert left.images[0].get_array()[50, 60].tolist() == [0, 0, 255]  # RGB
    below, over = right.images
    # The grey of 100 stretched from 0 .. 255 to 20 .. 150.
    assert below.get_array()[20, 20] == pytest.approx(20 + 130 * 100 / 255, abs=0.5)
    np.testing.assert_array_equal(over.get_array(), values)
    assert [below.get_clim(), over.get_clim(), bar.get_ylim()] == [(0, 255), (0, 0.5), (0, 0.5)]
    assert over.get_cmap().name == 'magma'
    assert over.get_extent() == [-0.5, 21 * 8 - 0.5, 12 * 8 - 0.5, -0.5]
    opacity = over.get_alpha()
    assert [opacity[4, 10], opacity[7, 3], opacity[0, 0]] == pytest.approx([0.9, 0.6, 0.3])
    for axes in (left, right):
        assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 159.5), (95.5, -0.5))
    assert [axes.get_title() + axes.get_title(loc='left') for axes in (left, right)] == list(heads)
    assert figure.get_suptitle() == 'title' and figure.get_supxlabel() == 'one\n$two$'


def test_marks_are_around_the_chosen_place():
    values, mask = np.full((12, 20), 1 / 240), np.zeros((HEIGHT, WIDTH), bool)
    mask[20:40, 50:90] = mask[0:5, 0:5] = True  # one part is at the edge

    def marked(place, *box):
        left, right, _ = attention_figure(frame(), frame(), values, (8, 8), place, *box).axes
        return left, [patch.get_bbox().extents.tolist() for patch in right.patches]

    left, right = marked(mask, (10, 30, 30, 60))
    # The edges of pixels, whose centres are at whole numbers.
    assert right == [[9.5, 29.5, 29.5, 59.5]]
    outlines = left.collections[0].get_paths()[0].to_polygons(closed_only=False)
    found = sorted([*one.min(axis=0), *one.max(axis=0)] for one in outlines)
    assert found == [[-0.5, -0.5, 4.5, 4.5], [49.5, 19.5, 89.5, 39.5]]
    left, right = marked((84, 30))
    assert right == []
    cell, ring = left.patches
    # The pixel's cell is 80 to 88 across and 24 to 32 down.
    assert cell.get_bbox().extents.tolist() == [79.5, 23.5, 87.5, 31.5]
    assert isinstance(ring, Circle) and ring.center == (84, 30) and ring.radius > 8
    assert ring.get_edgecolor()[:3] == to_rgb(MARK)


def test_pictures_of_frames_of_any_size_and_colour():
    sizes = ((160, 96), 480), ((500, 300), 500), ((1920, 1080), 960), ((90, 160), 480)
    for (width, height), panel in sizes:
        picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        before, style = picture.copy(), dict(matplotlib.rcParams)
        # Cells that are not whole pixels, of a map that reaches beyond the frame.
        drawn = draw_attention(picture, picture, np.eye(9), (width / 8.5, height / 7.3), (0, 0))
        assert drawn.dtype == np.uint8 and drawn.shape[2] == 3
        expected = panel * height / width + 70, 2 * panel + 130
        assert drawn.shape[:2] == pytest.approx(expected, abs=1)
        np.testing.assert_array_equal(picture, before)
        assert dict(matplotlib.rcParams) == style
    # Blue, green, red.
    blue = np.full((HEIGHT, WIDTH, 3), (200, 40, 0), np.uint8)
    drawn = draw_attention(blue, blue, np.zeros((12, 20)), (8, 8), (1, 1))
    plain = (drawn == (200, 40, 0)).all(axis=2)
    assert plain[:, :300].mean() > 0.3 and not plain[:, 560:].any()
    # Of a map of nothing all cells are alike.
    right = drawn[120:300, 700:900]
    assert (right == right[0, 0]).all() and cv2.imencode('.jpg', drawn)[0]
