import numpy as np
import pytest

from tests.evaluation.content import encode
from vispropnet.visualization import grid
from vispropnet.visualization.grid import BAR, CAPTION, GAP, STRIP, draw_cell, muted
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.shown_tracks import ShownTrack
from vispropnet.visualization.text import text_size


def drawn_with(mask, side, frame=1, number=1, propagated=False):
    """A gray frame with one track, which is in the second frame only."""
    gray = np.full((*mask.shape, 3), 128, np.uint8)
    track = ShownTrack(5, 0.5, [None, encode(mask)], [False, propagated], number)
    return draw_cell(gray, [track], frame, {5: 'cat'}, side)


def test_muting_keeps_brightness_and_takes_most_of_the_colour():
    picture = np.array([[[0, 0, 255], [90, 90, 90]]], np.uint8)  # red, and gray of no colour
    gray = 0.299 * 255
    assert np.abs(muted(picture)[0, 0] - [0.7 * gray, 0.7 * gray, 0.7 * gray + 76.5]).max() <= 1
    assert (muted(picture)[0, 1] == 90).all()


def test_small_frames_are_enlarged_and_large_ones_shrunk():
    for size, side, expected in (
        *(((160, 96), 480, (480, 288)), ((160, 96), 479, (320, 192))),
        *(((96, 160), 160, (96, 160)), ((1280, 720), 640, (640, 360))),
        *(((720, 1280), 640, (360, 640)), ((400, 2), 100, (100, 1))),
    ):
        gray = np.zeros((*size[::-1], 3), np.uint8)
        assert draw_cell(gray, [], 0, {}, side).shape == (*expected[::-1], 3)
    # Cells are large enough, and not too wide together.
    large = [(1280, 720)]
    for sizes, columns, side in (
        *(([(160, 96)], 3, 480), ([(640, 360)], 3, 640), (large, 3, 640), (large, 2, 963)),
        *(([(720, 1280)], 1, 1280), ([(100, 100)], 1, 500), ([(160, 96), (50, 600)], 2, 600)),
    ):
        videos = [dict(width=width, height=height) for width, height in sizes]
        assert grid.cell_side(videos, 480, columns, 1932) == side
        assert columns * side + (columns - 1) * GAP <= 1932


@pytest.mark.parametrize('side', [50, 33])
def test_shrunk_masks_cover_the_pixels_that_are_half_covered(side):
    rng = np.random.default_rng(side)
    mask = np.zeros((90, 100), bool)
    for _ in range(4):
        x, y = rng.integers(0, 80, 2)
        mask[y : y + rng.integers(5, 40), x : x + rng.integers(5, 40)] = True
    drawn = drawn_with(mask, side)
    changed = (drawn != 128).any(axis=2)
    height, width = changed.shape
    assert width == side
    # Share of each small pixel, from a fine grid of points.
    steps = 20
    ys = ((np.arange(height * steps) + 0.5) / steps * 90 / height).astype(int)
    xs = ((np.arange(width * steps) + 0.5) / steps * 100 / width).astype(int)
    share = mask[np.ix_(ys, xs)].reshape(height, steps, width, steps).mean(axis=(1, 3))
    # The label is around all that is darker than any mask is painted on this gray.
    rows, columns = np.nonzero((drawn < 60).all(axis=2))
    sure = np.abs(share - 0.5) > 0.3
    sure[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = False
    assert sure.mean() > 0.5 and (changed == (share > 0.5))[sure].all()
    # One that is lost by shrinking keeps a pixel.
    mask = np.zeros((400, 400), bool)
    mask[200, 100] = True
    assert (drawn_with(mask, 100)[50, 25] == track_color(1)).all()


def test_tracks_of_the_frame_are_drawn_in_the_colours_of_their_numbers():
    mask = np.zeros((60, 60), bool)
    mask[40:50, 40:50] = True
    assert (drawn_with(mask, 60, frame=0) == 128).all()
    for number in (1, 7):
        assert (drawn_with(mask, 60, number=number)[40, 45] == track_color(number)).all()
    rim = drawn_with(mask, 60, propagated=True)[40:50, [40, 49]]
    assert 0 < (rim == 255).all(axis=-1).sum() < rim.size / 3


def pictures(*grays):
    return [np.full((80, 100, 3), gray, np.uint8) for gray in grays]


def test_grid_has_pictures_in_rows_and_columns():
    rows = [pictures(50, 60), pictures(70, 80)]
    found = grid.draw_grid(rows, ['first', 'second'], 120, ['above', 'below'], 70)
    assert found.shape == (CAPTION + 2 * 80 + GAP, 70 + 2 * 120 + GAP, 3)
    for row, below in enumerate((CAPTION, CAPTION + 80 + GAP)):
        for column, left in enumerate((70 + 10, 70 + 120 + GAP + 10)):
            gray = (found == 50 + 20 * row + 10 * column).all(axis=2)
            assert gray[below : below + 80, left : left + 100].all()
    texts = (found == 255).all(axis=2)
    # Captions above their columns, names before the middle of their rows.
    assert texts[:CAPTION, 80:180].any() and texts[:CAPTION, 206:306].any()
    for middle in (CAPTION + 40, CAPTION + 80 + GAP + 40):
        assert texts[middle - 8 : middle + 8, :70].any()
    assert not texts[CAPTION : CAPTION + 25, :80].any()
    # Captions are cut to their columns.
    found = grid.draw_grid([pictures(50, 60)], ['x' * 200, ''], 100)
    assert found.shape == (CAPTION + 80, 2 * 100 + GAP, 3)
    assert (found[:CAPTION, 100:] == grid.BACKGROUND).all()
    assert (found[:CAPTION, :100] == 255).any()


def test_bar_has_title_and_notes():
    bar = grid.draw_bar(300, 'video 3', 'a folder')
    assert bar.shape == (BAR, 300, 3) and (bar[:, -20:] == STRIP).all()
    end = 10 + text_size('video 3', 14, bold=True)[0]
    white = (bar == 255).all(axis=2)
    assert white[:, 10:end].any() and not white[:, end:].any()
    assert (bar[:, end + 14 :] != STRIP).any() and (bar[:, end : end + 14] == STRIP).all()
