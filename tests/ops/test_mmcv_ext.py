"""NMS and RoIAlign, called as mmdet calls them, against slow references."""

import itertools
import math

import numpy as np
import pytest
import torch
from mmcv.ops import RoIAlign, nms, roi_align
from mmdet.structures.mask import BitmapMasks, mask_target
from mmengine.config import ConfigDict

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]


def slow_iou(box, other, offset):
    width = min(box[2], other[2]) - max(box[0], other[0]) + offset
    height = min(box[3], other[3]) - max(box[1], other[1]) + offset
    overlap = max(width, 0) * max(height, 0)
    areas = [(one[2] - one[0] + offset) * (one[3] - one[1] + offset) for one in (box, other)]
    return overlap / (sum(areas) - overlap)


def slow_nms(boxes, scores, threshold, offset):
    """Takes the best box left, drops those that overlap it by more than the threshold."""
    left = sorted(range(len(boxes)), key=lambda index: -scores[index])
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if slow_iou(boxes[best], boxes[i], offset) <= threshold]
    return kept


def random_boxes(count, seed, span=25):
    """Boxes at whole pixels, as lists, so that references compute without rounding."""
    generator = np.random.default_rng(seed)
    corner = generator.integers(0, span, (count, 2))
    size = generator.integers(4, 40, (count, 2))
    # Different scores, also in half precision.
    scores = generator.permutation(count) / 64
    return np.hstack([corner, corner + size]).astype(float).tolist(), scores.tolist()


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize('offset', [0, 1])
def test_nms_equals_the_greedy_loop(device, dtype, offset):
    for seed, threshold in itertools.product(range(5), [0.1003, 0.3701, 0.6007]):
        boxes, scores = random_boxes(60, seed)
        expected = slow_nms(boxes, scores, threshold, offset)
        given = (torch.tensor(one, dtype=dtype, device=device) for one in (boxes, scores))
        dets, keep = nms(*given, iou_threshold=threshold, offset=offset)
        assert keep.tolist() == expected and 1 < len(expected) < 60
        assert dets.dtype == dtype
        assert dets.tolist() == [[*boxes[i], scores[i]] for i in expected]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('tenths', range(1, 10))
def test_an_iou_equal_to_the_threshold_is_kept(device, tenths):
    boxes = torch.tensor([[0.0, 0, 10, 1], [0.0, 0, tenths, 1]], device=device)
    scores = torch.tensor([0.9, 0.8], device=device)
    assert nms(boxes, scores, iou_threshold=tenths / 10)[1].tolist() == [0, 1]
    assert nms(boxes, scores, iou_threshold=tenths / 10 - 0.001)[1].tolist() == [0]


def test_nms_of_equal_scores_keeps_the_first_and_takes_nothing():
    boxes = torch.tensor([[0.0, 0, 9, 9], [1.0, 0, 10, 9], [20.0, 0, 29, 9], [0.0, 1, 9, 10]])
    assert nms(boxes, torch.full((4,), 0.5), iou_threshold=0.5)[1].tolist() == [0, 2]
    dets, keep = nms(boxes[:0], torch.zeros(0), iou_threshold=0.5)
    assert dets.shape == (0, 5) and keep.shape == (0,) and keep.dtype == torch.long


def test_half_precision_keeps_the_offset_of_far_boxes():
    # Beyond 2048 half precision has even numbers only: x2 + 1 would be lost. With the offset the
    # boxes are 11 and 9 wide and share 5: IoU 5/15. Without, 10, 8 and 4: 4/14.
    boxes = torch.tensor([[2050.0, 0, 2060, 8], [2056.0, 0, 2064, 8]], dtype=torch.half)
    scores = torch.tensor([0.9, 0.8], dtype=torch.half)
    assert nms(boxes, scores, iou_threshold=0.31, offset=1)[1].tolist() == [0]
    assert nms(boxes, scores, iou_threshold=0.31, offset=0)[1].tolist() == [0, 1]


def slow_sample(plane, y, x):
    """Bilinear value of a (C, H, W) map at one point; zero more than one cell outside."""
    height, width = plane.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return plane.new_zeros(plane.shape[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    x, y = x - left, y - top
    rows = plane[:, [top, bottom]]
    above, below = (rows[:, :, left] * (1 - x) + rows[:, :, right] * x).unbind(1)
    return above * (1 - y) + below * y


def slow_roi_align(features, rois, size, scale, ratio, aligned):
    """Averages bilinear samples on a regular grid in each bin, one at a time."""
    rows, columns = size
    pooled = []
    for image, *corners in rois.tolist():
        left, top, right, bottom = (corner * scale - 0.5 * aligned for corner in corners)
        height, width = bottom - top, right - left
        if not aligned:
            height, width = max(height, 1.0), max(width, 1.0)
        down = ratio or math.ceil(height / rows)
        across = ratio or math.ceil(width / columns)
        for row, column in itertools.product(range(rows), range(columns)):
            total = features.new_zeros(features.shape[1])
            for i, j in itertools.product(range(down), range(across)):
                y = top + (row + (i + 0.5) / down) * height / rows
                x = left + (column + (j + 0.5) / across) * width / columns
                total = total + slow_sample(features[int(image)], y, x)
            pooled.append(total / max(down * across, 1))
    return torch.stack(pooled).reshape(len(rois), rows, columns, -1).permute(0, 3, 1, 2)


def feature_map():
    return torch.randn(2, 3, 9, 11, dtype=torch.float64)


def some_rois(scale):
    """Inside, over each border, fully outside, and thin ones, over two images; in image pixels."""
    rois = [[0, 1.0, 2.0, 7.5, 6.25], [1, 0.0, 0.0, 11.0, 9.0], [1, -3.5, -2.0, 4.0, 5.0]]
    rois += [[0, 6.0, 5.0, 14.0, 12.0], [1, 20.0, 20.0, 24.0, 25.0]]
    rois += [[0, 3.2, 1.0, 3.5, 8.0], [0, 2.0, 4.0, 9.0, 4.25]]
    return torch.tensor(rois, dtype=torch.float64) / torch.tensor([1] + [scale] * 4)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('scale', [1.0, 0.25])
def test_roi_align_equals_the_nested_loops(device, aligned, ratio, scale):
    features, rois = feature_map(), some_rois(scale)
    options = (3, 2), scale, ratio, aligned
    expected = slow_roi_align(features, rois, *options)
    # The fifth lies fully outside.
    assert expected[:2].abs().min() > 0 and expected[4].abs().max() == 0
    layer = RoIAlign((3, 2), spatial_scale=scale, sampling_ratio=ratio, aligned=aligned)
    for dtype, tolerance in [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.half, 4e-3)]:
        pooled = layer(features.to(device, dtype), rois.to(device, dtype))
        if dtype == torch.half:  # of the very numbers that it was given
            expected = slow_roi_align(features.half().double(), rois.half().double(), *options)
        assert pooled.dtype == dtype
        torch.testing.assert_close(pooled.cpu().double(), expected, rtol=0, atol=tolerance)


def test_roi_align_by_hand():
    # A ramp of 10 y + x, cell centres at half coordinates: the mean over a bin that lies inside is
    # the value at its centre. The roi (1, 1)-(5, 3) has columns centred at x = 2 and 4, a row at
    # y = 2.
    ramp = (10 * torch.arange(6.0)[:, None] + torch.arange(8.0)).reshape(1, 1, 6, 8)
    given = ramp, torch.tensor([[0.0, 1, 1, 5, 3]]), (1, 2), 1.0, 0, 'avg'
    assert roi_align(*given, True).flatten().tolist() == [10 * 1.5 + 1.5, 10 * 1.5 + 3.5]
    # The legacy convention has centres at whole coordinates: half a cell further down and right.
    assert roi_align(*given, False).flatten().tolist() == [10 * 2 + 2, 10 * 2 + 4]


@pytest.mark.parametrize('device', DEVICES)
def test_roi_align_of_no_rois(device):
    features = feature_map().to(device).requires_grad_()
    pooled = RoIAlign(2, 0.25, 0)(features, features.new_zeros(0, 5))
    assert pooled.shape == (0, 3, 2, 2)
    (gradient,) = torch.autograd.grad(pooled.sum(), features)
    assert gradient.shape == features.shape and gradient.abs().max() == 0


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_gradient_equals_that_of_the_nested_loops(device, aligned, ratio):
    rois = some_rois(0.5)
    features = feature_map().requires_grad_()
    weights = torch.randn(7, 3, 3, 2, dtype=torch.float64)
    (slow_roi_align(features, rois, (3, 2), 0.5, ratio, aligned) * weights).sum().backward()
    assert features.grad.abs().sum() > 1
    layer = RoIAlign((3, 2), spatial_scale=0.5, sampling_ratio=ratio, aligned=aligned)
    for dtype, tolerance in [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.half, 2e-2)]:
        ours = features.detach().to(device, dtype).requires_grad_()
        # A transposed gradient is not contiguous.
        weight = weights.to(device, dtype).transpose(2, 3).contiguous().transpose(2, 3)
        layer(ours, rois.to(device, dtype)).backward(weight)
        assert ours.grad.dtype == dtype
        torch.testing.assert_close(ours.grad.cpu().double(), features.grad, rtol=0, atol=tolerance)


def test_roi_align_reads_features_that_are_not_contiguous():
    features, rois = feature_map(), some_rois(1.0)
    layer = RoIAlign((3, 2), spatial_scale=1.0, sampling_ratio=0)
    strided = features.to(memory_format=torch.channels_last)
    assert torch.equal(layer(strided, rois), layer(features, rois))


def test_max_pooling_is_refused():
    origin = __import__('mmcv._ext', fromlist=['_ext']).__spec__.origin
    if origin.endswith('.so'):
        pytest.skip('mmcv is compiled here: it has max pooling')
    layer = RoIAlign(2, 1.0, 0, pool_mode='max')
    with pytest.raises(NotImplementedError, match="pool_mode='max'.*pool_mode='avg'"):
        layer(torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 4, 4]]))


# 8 by 8, a staircase: nothing in it is symmetric.
STAIRCASE = (np.arange(8)[:, None] + 2 * np.arange(8)[None] < 12).astype(np.uint8)


def test_masks_are_shrunk_by_majority():
    masks, box = BitmapMasks(STAIRCASE[None], 8, 8), np.array([[0, 0, 8, 8]], dtype=np.float32)
    crops = masks.crop_and_resize(box, (4, 4), inds=np.array([0]), device='cpu').masks
    means = STAIRCASE.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    assert ((means > 0) & (means < 1)).any()
    np.testing.assert_array_equal(crops[0], means >= 0.5)


def test_mask_targets_of_positive_boxes():
    both = np.stack([STAIRCASE, STAIRCASE[:, ::-1]])
    boxes, masks = torch.tensor([[2.0, 1, 6, 5]] * 2), BitmapMasks(both, 8, 8)
    targets = mask_target([boxes], [torch.tensor([1, 0])], [masks], ConfigDict(mask_size=4))
    np.testing.assert_array_equal(targets.numpy(), both[::-1, 1:5, 2:6])
