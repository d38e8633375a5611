import numpy as np
import pytest
from pycocotools import mask as mask_utils

from vispropnet.visualization.cells import draw_cell, fit, muted
from vispropnet.visualization.palette import track_color
from vispropnet.visualization.shown_tracks import ShownTrack


def track_of(mask, number=1, **more):
    rle = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    rle = {'size': list(mask.shape), 'counts': rle['counts'].decode()}
    return ShownTrack(5, more.get('score', 0.5), [None, rle], [False, False], number)


def drawn_with(mask, side):
    """A gray frame with one track."""
    gray = np.full((*mask.shape, 3), 128, np.uint8)
    return draw_cell(gray, [track_of(mask)], 1, {5: 'cat'}, side)


def test_small_frames_are_enlarged_and_large_ones_shrunk():
    assert fit(160, 96, 480) == (3, (480, 288))
    assert fit(160, 96, 479) == (2, (320, 192))
    assert fit(96, 160, 160) == (1, (96, 160))
    assert fit(1280, 720, 640) == (0, (640, 360))
    assert fit(720, 1280, 640) == (0, (360, 640))
    assert fit(4000, 2, 100) == (0, (100, 1))


def test_muting_keeps_brightness_and_takes_most_of_the_colour():
    picture = np.array([[[0, 0, 255], [90, 90, 90]]], np.uint8)  # red, and gray of no colour
    gray = 0.299 * 255
    assert np.abs(muted(picture)[0, 0] - [0.7 * gray, 0.7 * gray, 0.7 * gray + 76.5]).max() <= 1
    assert (muted(picture)[0, 1] == 90).all()


@pytest.mark.parametrize('side', [50, 64, 33])
def test_shrunk_masks_cover_the_pixels_that_are_half_covered(side):
    rng = np.random.default_rng(side)
    mask = np.zeros((90, 100), bool)
    for _ in range(4):
        x, y = rng.integers(0, 80, 2)
        mask[y : y + rng.integers(5, 40), x : x + rng.integers(5, 40)] = True
    changed = (drawn_with(mask, side) != 128).any(axis=2)
    height, width = changed.shape
    assert width == side
    # Share of each small pixel, from a fine grid of points.
    steps = 20
    ys = ((np.arange(height * steps) + 0.5) / steps * 90 / height).astype(int)
    xs = ((np.arange(width * steps) + 0.5) / steps * 100 / width).astype(int)
    share = mask[ys][:, xs].reshape(height, steps, width, steps).mean(axis=(1, 3))
    blank = np.zeros((height, width), bool)
    blank[_label_box(drawn_with(mask, side))] = True
    sure = (np.abs(share - 0.5) > 0.3) & ~blank
    assert sure.mean() > 0.5
    assert (changed == (share > 0.5))[sure].all()


def _label_box(drawn):
    """The slices around all that is darker than any mask is painted on this gray."""
    rows, columns = np.nonzero((drawn < 60).all(axis=2))
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


def test_mask_lost_by_shrinking_keeps_a_pixel():
    mask = np.zeros((400, 400), bool)
    mask[200, 100] = True
    drawn = drawn_with(mask, 100)
    assert (drawn[50, 25] == track_color(1)).all()


def test_only_the_tracks_of_the_frame_are_drawn():
    mask = np.ones((40, 60), bool)
    gray = np.full((40, 60, 3), 128, np.uint8)
    assert (draw_cell(gray, [track_of(mask)], 0, {5: 'cat'}, 60) == 128).all()
    assert (draw_cell(gray, [track_of(mask)], 1, {5: 'cat'}, 60) != 128).any(axis=2).all()
    assert draw_cell(gray, [], 0, {5: 'cat'}, 30).shape == (20, 30, 3)


def test_number_decides_the_colour():
    mask = np.zeros((60, 60), bool)
    mask[40:50, 40:50] = True
    for number in (1, 7):
        gray = np.full((60, 60, 3), 128, np.uint8)
        drawn = draw_cell(gray, [track_of(mask, number)], 1, {5: 'cat'}, 60)
        assert (drawn[40, 45] == track_color(number)).all()
