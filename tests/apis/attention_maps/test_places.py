import numpy as np
import pytest
from pycocotools import mask as mask_utils

from vispropnet.apis.attention_maps.places import (
    Choice,
    checked_choice,
    chosen_cells,
    track_places,
)
from vispropnet.errors import UserError

SIZE = (32, 48)  # height, width; at stride 8 there are 4 x 6 cells


def mask_of(x0, y0, x1, y1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def rle_of(*box):
    return mask_utils.encode(np.asfortranarray(mask_of(*box).astype(np.uint8)))


def cells(choice, scale=(1.0, 1.0), size=(4, 6), stride=8):
    return [divmod(cell, size[1]) for cell in chosen_cells(choice, size, stride, scale).tolist()]


def test_cells_of_a_position():
    assert cells(Choice(position=(7, 8))) == [(1, 0)]
    assert cells(Choice(position=(47, 31))) == [(3, 5)]
    # The network sees the frame twice as wide and half as high: (16.5 * 2, 16.5 / 2).
    assert cells(Choice(position=(16, 16)), (2.0, 0.5), (2, 12)) == [(1, 4)]
    # The last pixel stays in the last cell even where rounding takes features away.
    assert cells(Choice(position=(47, 31)), (1.0, 1.0), (3, 5)) == [(2, 4)]


def test_cells_of_a_box():
    # Centres at 4, 12, 20, ...: two across and one down are inside.
    assert cells(Choice(box=(10, 3, 21, 11))) == [(0, 1), (0, 2)]
    # No centre inside: the cell of the box's centre (26.5, 9.5).
    assert cells(Choice(box=(26, 9, 27, 10))) == [(1, 3)]
    assert cells(Choice(box=(5, 1.5, 10.5, 5.5)), (2.0, 2.0), (8, 12)) == [(0, 1), (0, 2)]


def test_cells_of_a_mask():
    # Cell (1, 1) whole, (1, 2) by 4 of 8 columns, (1, 3) not at all; (2, ...) by 3 of 8 rows.
    assert cells(Choice(mask=mask_of(8, 8, 20, 19))) == [(1, 1), (1, 2)]
    # By half nowhere: 2 x 3 pixels in (0, 0), and 3 x 3 in (0, 1).
    assert cells(Choice(mask=mask_of(6, 2, 11, 5))) == [(0, 1)]
    # A frame of 48 x 32 shown to the network as 24 x 16: cells are 16 pixels.
    assert cells(Choice(mask=mask_of(16, 0, 32, 16)), (0.5, 0.5), (2, 3)) == [(0, 1)]


def test_choice_must_be_in_the_frame():
    assert checked_choice(Choice(box=(-5, 3, 90, 20)), SIZE, 'it').box == (0, 3, 48, 20)
    assert checked_choice(Choice(position=(47, 31)), SIZE, 'it').position == (47, 31)
    for choice, message in (
        (Choice(), 'it: choose by one of .*, found 0'),
        (Choice(position=(1, 1), box=(0, 0, 9, 9)), 'found 2'),
        (Choice(position=(48, 0)), 'it: position 48,0 is outside of the frame of 48x32 pixels'),
        (Choice(position=(0, -1)), 'position 0,-1 is outside'),
        (Choice(position=(float('nan'), 0)), 'position nan,0 is outside'),
        (Choice(box=(50, 0, 60, 9)), 'no area inside the frame of 48x32'),
        (Choice(box=(9, 9, 4, 12)), 'no area'),
        (Choice(mask=np.ones((4, 4), bool)), r'must be \(H, W\) = \(32, 48\).*got \(4, 4\)'),
        (Choice(mask=np.zeros(SIZE, bool)), 'at least one pixel.* with 0 pixels'),
    ):
        with pytest.raises(UserError, match=message):
            checked_choice(choice, SIZE, 'it')


def test_places_of_a_track():
    track = [rle_of(3, 4, 9, 11), None, rle_of(20, 4, 30, 6)]
    mask, box = track_places(track, 2, 0, 3, 'it')
    np.testing.assert_array_equal(mask, mask_of(20, 4, 30, 6))
    assert box == (3, 4, 9, 11)
    assert track_places(track, 0, 1, 3, 'it')[1] is None
    with pytest.raises(UserError, match='it: the track is not visible in frame 1'):
        track_places(track, 1, 0, 3, 'it')
    with pytest.raises(UserError, match='it has 4 frames, but the track 3 entries'):
        track_places(track, 0, 1, 4, 'it')
