import pytest
import torch

from vispropnet.models import map_masks
from vispropnet.models.map_masks import full_size_masks

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
# An input of 16x24 with 12x20 pixels of an image of 30x50.
METAINFO = dict(batch_input_shape=(16, 24), img_shape=(12, 20), ori_shape=(30, 50, 3))


def slow_resized(rows, height, width):
    """Bilinear, one pixel after the other: centres on centres, the border goes on outside."""
    result = []
    for row in range(height):
        y = min(max((row + 0.5) * len(rows) / height - 0.5, 0), len(rows) - 1)
        top, low = int(y), min(int(y) + 1, len(rows) - 1)
        line = []
        for column in range(width):
            x = min(max((column + 0.5) * len(rows[0]) / width - 0.5, 0), len(rows[0]) - 1)
            left, right = int(x), min(int(x) + 1, len(rows[0]) - 1)
            above = rows[top][left] * (1 - x % 1) + rows[top][right] * (x % 1)
            below = rows[low][left] * (1 - x % 1) + rows[low][right] * (x % 1)
            line.append(above * (1 - y % 1) + below * (y % 1))
        result.append(line)
    return result


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('limit', [10**9, 1])
def test_maps_are_enlarged_cut_and_scaled(device, limit, monkeypatch):
    monkeypatch.setattr(map_masks, 'CHUNK_BYTES', limit)
    logits = torch.randn(3, 4, 6)
    found = full_size_masks(logits.to(device), METAINFO)
    assert found.shape == (3, 30, 50)
    for mask, rows in zip(found.to_tensor(), logits.tolist(), strict=True):
        inner = [line[:20] for line in slow_resized(rows, 16, 24)[:12]]
        expected = torch.tensor(slow_resized(inner, 30, 50))
        assert 0 < mask.sum() < mask.numel()
        # What is within rounding of the threshold may go either way.
        assert ((mask == (expected > 0)) | (expected.abs() < 1e-5)).all()


def test_parts_are_of_as_many_maps_as_the_limit_allows(monkeypatch):
    sizes = []
    dense = map_masks.FrameMasks.dense
    monkeypatch.setattr(
        map_masks.FrameMasks, 'dense', lambda masks: sizes.append(len(masks)) or dense(masks)
    )
    bytes_each = 4 * (16 * 24 + 30 * 50)
    for limit, expected in ((3 * bytes_each, [3, 3, 1]), (bytes_each - 1, [1] * 7), (10**9, [7])):
        monkeypatch.setattr(map_masks, 'CHUNK_BYTES', limit)
        sizes.clear()
        assert len(full_size_masks(torch.randn(7, 4, 6), METAINFO)) == 7
        assert sizes == expected


@pytest.mark.parametrize('device', DEVICES)
def test_no_map_and_maps_without_a_pixel(device):
    assert full_size_masks(torch.zeros(0, 4, 6, device=device), METAINFO).shape == (0, 30, 50)
    found = full_size_masks(torch.zeros(2, 4, 6, dtype=torch.half, device=device), METAINFO)
    assert found.shape == (2, 30, 50) and not found.to_tensor().any()
