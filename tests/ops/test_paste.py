import pytest
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from torch.nn import functional

from vispropnet.ops.paste import paste


def draw(window, size):
    drawn = torch.zeros(size, dtype=torch.bool)
    inside = drawn[window.top :, window.left :][: window.height, : window.width]
    inside.copy_(window.bits[:, :-1].t())
    return drawn


def over_the_frame(small, box, size):
    """The definition: every pixel of the frame looks for its place in the small mask."""
    height, width = size
    x = (torch.arange(width) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
    y = (torch.arange(height) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)
    return functional.grid_sample(small[None, None], grid[None], align_corners=False)[0, 0]


def draw_inputs(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    extent = torch.tensor([size[1], size[0]])
    centres = torch.rand(count, 2, generator=generator) * extent
    sides = (torch.rand(count, 2, generator=generator) * 0.6 + 0.02) * extent
    corners = [(centres + side).clamp(torch.zeros(2), extent) for side in (-sides / 2, sides / 2)]
    boxes = torch.cat(corners, dim=1)
    coarse = torch.rand(count, 1, 6, 6, generator=generator)
    return functional.interpolate(coarse, (28, 28), mode='bilinear')[:, 0], boxes


def test_by_hand():
    # Cells of 2 x 2 pixels; across, the values between their centres at 0.5 and 1.5 (in cells) are
    # 1, 1 * 3/4, 1 * 1/4, 0; beyond the outer centres nothing is mixed in but what lies outside.
    small, box = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), torch.tensor([[3.0, 1.0, 7.0, 5.0]])
    (window,) = paste(small, box, (6, 9), 0.5)
    expected = torch.zeros(6, 9, dtype=torch.bool)
    # The first column lies a quarter cell outside the centre: 3/4 of 1. So does the first row.
    expected[1:5, 3:5] = True  # 3/4 * 3/4 = 0.5625 in the corners
    assert torch.equal(draw(window, (6, 9)), expected)
    (window,) = paste(small, box, (6, 9), 0.6)
    expected[[1, 4]] = False  # what is left: 3/4 and more
    assert torch.equal(draw(window, (6, 9)), expected)
    assert not window.bits[:, -1].any()


@pytest.mark.parametrize('threshold', [0.5, 0.7, 0.3, 0.05])
@pytest.mark.parametrize('size', [(300, 400), (37, 53), (5, 64), (64, 1), (1, 1)])
def test_equals_the_definition_over_the_frame(size, threshold):
    small, boxes = draw_inputs(60, size)
    boxes[0] = torch.tensor([0, 0, size[1], size[0]])
    small[1] = 1
    differing = 0
    for window, mask, box in zip(paste(small, boxes, size, threshold), small, boxes, strict=True):
        values = over_the_frame(mask, box, size)
        found = draw(window, size)
        # The tolerance that the docstring states.
        clear = (values - threshold).abs() > 1e-5
        assert torch.equal(found[clear], (values >= threshold)[clear])
        differing += int((found != (values >= threshold)).sum())
    assert differing <= 1


def test_equals_mmdet_at_720p():
    size = (720, 1280)
    small, boxes = draw_inputs(20, size, seed=1)
    whole, _ = _do_paste_mask(small[:, None], boxes, *size, skip_empty=False)
    for window, values in zip(paste(small, boxes, size, 0.5), whole, strict=True):
        assert torch.equal(draw(window, size), values >= 0.5)


def test_windows_are_no_larger_than_their_boxes():
    small, boxes = draw_inputs(50, (200, 300))
    for one, box in zip(paste(small, boxes, (200, 300), 0.5), boxes.tolist(), strict=True):
        right, bottom = one.left + one.width, one.top + one.height
        assert box[0] - 2 <= one.left and right <= min(box[2] + 2, 300)
        assert box[1] - 2 <= one.top and bottom <= min(box[3] + 2, 200)


def test_boxes_that_show_nothing():
    small = torch.ones(5, 4, 4)
    # Without width, turned over, outside, between pixel centres.
    boxes = [[3.0, 3, 3, 6], [2, 5, 6, 4], [-9, -9, -2, -2], [2.3, 2.3, 2.4, 2.4]]
    boxes = torch.tensor([*boxes, [torch.nan] * 4])
    for window in paste(small, boxes, (8, 8), 0.5):
        assert not window.bits.any()
    assert paste(small[:0], boxes[:0], (8, 8), 0.5) == []


def test_half_precision_and_autocast():
    small, boxes = draw_inputs(8, (40, 60))
    expected = paste(small.bfloat16().float(), boxes, (40, 60), 0.5)
    with torch.autocast('cpu', torch.bfloat16):
        found = paste(small.bfloat16(), boxes, (40, 60), 0.5)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.bits, other.bits)


@pytest.mark.gpu
def test_on_a_gpu():
    small, boxes = draw_inputs(20, (120, 200))
    expected = paste(small, boxes, (120, 200), 0.5)
    found = paste(small.cuda(), boxes.cuda(), (120, 200), 0.5)
    for one, other in zip(found, expected, strict=True):
        assert one.bits.device.type == 'cuda' and (one.left, one.top) == (other.left, other.top)
        assert (one.bits.cpu() != other.bits).sum() <= 1
