import numpy as np
import pytest

from vispropnet.apis.attention_maps.recording import chosen_cells


def mask_of(x0, y0, x1, y1):
    mask = np.zeros((32, 48), bool)  # at stride 8 there are 4 x 6 cells
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize(
    ('place', 'scale', 'size', 'cells'),
    [
        ((7, 8), (1.0, 1.0), (4, 6), [(1, 0)]),
        ((47, 31), (1.0, 1.0), (4, 6), [(3, 5)]),
        # The network sees the frame twice as wide and half as high: (16.5 * 2, 16.5 / 2).
        ((16, 16), (2.0, 0.5), (2, 12), [(1, 4)]),
        # The last pixel stays in the last cell even where rounding takes features away.
        ((47, 31), (1.0, 1.0), (3, 5), [(2, 4)]),
        # Cell (1, 1) whole, (1, 2) by 4 of 8 columns, (1, 3) not at all; (2, ...) by 3 of 8 rows.
        (mask_of(8, 8, 20, 19), (1.0, 1.0), (4, 6), [(1, 1), (1, 2)]),
        # By half nowhere: 2 x 3 pixels in (0, 0), and 3 x 3 in (0, 1).
        (mask_of(6, 2, 11, 5), (1.0, 1.0), (4, 6), [(0, 1)]),
        # A frame of 48 x 32 shown to the network as 24 x 16: cells are 16 pixels.
        (mask_of(16, 0, 32, 16), (0.5, 0.5), (2, 3), [(0, 1)]),
    ],
)
def test_cells_of_pixels_and_masks(place, scale, size, cells):
    found = chosen_cells(place, size, 8, scale).tolist()
    assert [divmod(cell, size[1]) for cell in found] == cells
