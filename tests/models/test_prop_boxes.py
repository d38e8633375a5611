import pytest
import torch

from vispropnet.models.prop_heads.boxes import box_maps, mask_boxes

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
# Cells of 8 pixels, centres at 4, 12, 20, ...: 32 x 48 pixels.
SIZE, STRIDE = (4, 6), 8


def cells(boxes):
    """Rows and columns of the cells inside each box."""
    maps = box_maps(torch.tensor(boxes, dtype=torch.float).reshape(-1, 4), SIZE, STRIDE)
    assert maps.shape == (len(boxes), *SIZE) and set(maps.unique().tolist()) <= {0, 1}
    return [[tuple(cell) for cell in one.nonzero().tolist()] for one in maps]


def block(rows, columns):
    return [(row, column) for row in rows for column in columns]


BY_HAND = {
    # Sides on the borders of cells: exactly those cells.
    (8, 16, 32, 24): block([2], [1, 2, 3]),
    (0, 0, 8, 8): [(0, 0)],
    (40, 24, 48, 32): [(3, 5)],
    # A cell is inside with its centre, also when that lies on a side.
    (4, 12, 20, 13): block([1], [0, 1, 2]),
    (4.5, 8, 19.5, 24): block([1, 2], [1]),
    # Smaller than a cell, between centres: the cell of the box's centre.
    (17, 9, 18, 10): [(1, 2)],
    (14.5, 14.5, 17.5, 17.5): [(2, 2)],
    # Thin between two columns of centres: the column of the box's centre, all rows.
    (22, 0, 24, 32): block(range(4), [2]),
    (0, 5, 48, 7): block([0], range(6)),
    # No area.
    (20, 20, 20, 20): [(2, 2)],
    (16, 8, 16, 8): [(1, 2)],
    (0, 0, 0, 0): [(0, 0)],
    (10, 9, 30, 9): block([1], [1, 2, 3]),
    # The whole frame, and more.
    (0, 0, 48, 32): block(range(4), range(6)),
    (-100, -3, 500, 32.5): block(range(4), range(6)),
    # Partly outside.
    (-20, -20, 5, 13): block([0, 1], [0]),
    (43, 27, 80, 60): [(3, 5)],
    (45, 29, 80, 60): [],
}
# On each side, and a corner.
OUTSIDE = [(-20, 8, -1, 16), (48, 8, 56, 16), (8, -9, 16, -1), (8, 32, 16, 40)]
OUTSIDE += [(-5, -5, -5, -5), (48, 32, 48, 32)]


def test_box_maps_by_hand():
    for box, inside in (BY_HAND | dict.fromkeys(OUTSIDE, [])).items():
        assert cells([box]) == [inside], box
    # Several boxes, and none.
    assert cells([*BY_HAND, *OUTSIDE]) == [*BY_HAND.values(), *[[]] * 6]
    assert cells([]) == []


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('stride', [1, 8])
def test_box_maps_of_large_boxes_equal_a_loop_over_centres(stride, device):
    """A box at least as long as a cell always holds the centre of the cell of its own centre."""
    corner = (torch.rand(40, 2) * 1.4 - 0.3) * torch.tensor([7, 5]) * stride
    length = (torch.rand(40, 2) * 5 + 1) * stride
    boxes = torch.cat([corner, corner + length], dim=1)
    maps = box_maps(boxes.to(device), (5, 7), stride).cpu()
    for (left, top, right, bottom), found in zip(boxes.tolist(), maps, strict=True):
        for row, column in block(range(5), range(7)):
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            assert found[row, column] == (left <= x <= right and top <= y <= bottom)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_box_maps_have_the_type_of_the_boxes(dtype):
    maps = box_maps(torch.tensor([[8, 16, 32, 24]], dtype=dtype), SIZE, STRIDE)
    assert maps.dtype == dtype
    assert maps.nonzero()[:, 1:].tolist() == [[2, 1], [2, 2], [2, 3]]


@pytest.mark.parametrize('device', DEVICES)
def test_mask_boxes_by_hand(device):
    masks = torch.zeros(6, 4, 7, dtype=torch.bool, device=device)
    masks[0, 1:3, 2:5] = True
    masks[1, 3, 6] = True  # one pixel, in the far corner
    masks[2, 0, 5] = masks[2, 2, 1] = True  # two parts: the box of both
    masks[3] = True  # and masks[4] stays empty
    masks[5, :, 0] = True
    found = mask_boxes(masks)
    assert found[:3].tolist() == [[2, 1, 5, 3], [6, 3, 7, 4], [1, 0, 6, 3]]
    assert found[3:].tolist() == [[0, 0, 7, 4], [0, 0, 0, 0], [0, 0, 1, 4]]
    assert found.dtype == torch.float32 and mask_boxes(masks[:0]).shape == (0, 4)
