"""Attention maps against the dense affinity of features that are made here step by step."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch

import vispropnet.ops.affinity as ops
from vispropnet.apis import init_model
from vispropnet.apis.attention_maps import recording
from vispropnet.apis.attention_maps.recording import _mass_in_box, chosen_cells, record_attention
from vispropnet.errors import UserError

FOLDER = 'configs/objprop/objprop_r18_fpn_2e_moving-shapes'
# Padded to 64 x 96 for the network: 8 x 12 cells at stride 8.
WIDTH, HEIGHT = 90, 60


def model_of(root, *overrides, name='_attn-neck'):
    torch.manual_seed(0)
    model = init_model(root / f'{FOLDER}{name}.py', None, 'cpu', overrides=overrides)
    model.init_weights()
    with torch.no_grad():  # so that no map is flat, and none is a single cell
        model.prop_head.convs[6].weight.mul_(5)
        if model.attn_neck is not None:
            model.attn_neck.conv1.weight.mul_(2)
    return model.eval()


@pytest.fixture(scope='module')
def model(root):
    return model_of(root)


@pytest.fixture
def pair():
    """The current frame and the reference."""
    return list(np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8))


def covering(x0, y0, x1, y1, size=(HEIGHT, WIDTH)):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def levels_of(model, frame):
    """Features of a frame: normalised, padded at the right and below, through the backbone."""
    preprocessor, padded = model.data_preprocessor, torch.zeros(1, 3, 64, 96)
    image = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1).float()
    padded[0, :, :HEIGHT, :WIDTH] = (image - preprocessor.mean) / preprocessor.std
    return model.encode(padded)


@torch.no_grad()
def dense_affinity(model, *pair, sigma=None):
    """(h, w, Q) of the propagation head."""
    now, known = (model.prop_head.features(levels_of(model, one))[0] for one in pair)
    gaussian = sigma and ops.gaussian_factors(known.shape[1:], now.shape[1:], sigma, known)
    matrix = ops.affinity(known.flatten(1)[None], now.flatten(1)[None], gaussian)[0]
    matrix = matrix.double() / matrix.double().sum(dim=0)
    return matrix.view(*known.shape[1:], -1).numpy()


@torch.no_grad()
def dense_correlation(model, *pair, level):
    features = (levels_of(model, one)[level] for one in pair)
    query, key = (model.attn_neck.conv1(one).relu().double()[0] for one in features)
    matrix = (key.flatten(1).T @ query.flatten(1)).softmax(dim=0)
    return matrix.view(*key.shape[1:], -1).numpy()


def test_maps_of_a_position_are_columns_of_the_dense_matrices_and_name_padding(model, pair):
    maps, head = record_attention(model, *pair, (50, 21)), 'affinity of the propagation head'
    titles = [head, f'{head}, with the distance as at test (sigma 6 cells)']
    titles += [f'attention neck, stride {stride}' for stride in (4, 8, 16)]
    assert [one.title for one in maps] == titles
    assert [one.cell for one in maps] == [(side, side) for side in (8, 8, 4, 8, 16)]
    # The pixel's cells: row 21 // stride and column 50 // stride.
    expected = [
        dense_affinity(model, *pair)[..., 2 * 12 + 6],
        dense_affinity(model, *pair, sigma=6.0)[..., 2 * 12 + 6],
        dense_correlation(model, *pair, level=0)[..., 5 * 24 + 12],
        dense_correlation(model, *pair, level=1)[..., 2 * 12 + 6],
        dense_correlation(model, *pair, level=2)[..., 1 * 6 + 3],
    ]
    for found, values in zip(maps, expected, strict=True):
        np.testing.assert_allclose(found.values, values, atol=1e-5)
        assert found.values.sum() == pytest.approx(1)
        assert found.values.max() > 2 * found.values.mean()
        row, column = np.unravel_index(values.argmax(), values.shape)
        x, y = (min((one + 0.5) * found.cell[0], most) for one, most in ((column, 89), (row, 59)))
        place = f'maximum {found.values.max():.3g} in the cell around {x:.0f},{y:.0f}'
        assert found.notes[0] == f'{place} (spread evenly: {1 / values.size:.2g})'
        assert not any('mass' in note or 'mean' in note for note in found.notes)
    assert maps[2].notes[-1] == 'the neck sums up features of the current frame at these places'
    found, *_ = record_attention(model, *pair, (85, 55))
    # Of the last column of cells 2 of 8 pixels are in the frame, of the last row 4 of 8.
    outside = 1 - np.array([*[1] * 7, 0.5]) @ found.values @ np.array([*[1] * 11, 0.25])
    assert outside > 0.005
    assert f'{outside:.1%} lies in the padding beyond the frame, which is not shown' in found.notes


def test_maps_of_masks_are_means_of_columns_that_are_asked_for(model, pair, monkeypatch):
    mask = covering(24, 8, 48, 24)  # rows 1 and 2 and columns 3 to 5, whole
    columns = [row * 12 + column for row in (1, 2) for column in (3, 4, 5)]
    expected = dense_affinity(model, *pair)[..., columns].mean(axis=2)
    monkeypatch.setattr(ops, '_block', Mock(wraps=ops._block))
    monkeypatch.setattr(recording, 'COLUMNS', 4)
    found, *_ = record_attention(model, *pair, mask, reference_box=(40, 10, 60, 30))
    # 6 cells of stride 8, 24 of stride 4; at stride 16 two are covered by half.
    counts = [call.args[1].shape[2] for call in ops._block.call_args_list]
    assert counts == [4, 2, 4, 2, *[4] * 6, 4, 2, 2]
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    assert 'mean over 6 cells of the object' in found.notes
    share = f'{_mass_in_box(expected, (8, 8), (40, 10, 60, 30)):.1%} of the mass'
    # 20 x 20 of 90 x 60 pixels.
    place = "inside the object's box in the reference frame, which takes 7.4% of the frame"
    assert found.notes[1] == f'{share} is {place}'


def test_affinity_by_category_takes_the_label(root, pair):
    model = model_of(root, name='_category-affinity')
    head, affinity = model.prop_head, model.prop_head.affinity
    with torch.no_grad():
        affinity.right.copy_(torch.randn(affinity.right.shape))
        now, known = (head.features(levels_of(model, one))[0] for one in pair)
        weights = torch.eye(64) + affinity.left @ affinity.right.mT
        columns = known.flatten(1).T @ (weights @ now[:, 2, 6]).T
    for label in (1, 3):
        found, _ = record_attention(model, *pair, (50, 21), label)
        expected = columns[:, label].softmax(dim=0).view(8, 12)
        np.testing.assert_allclose(found.values, expected, atol=1e-4)
    for label in (None, 4, -1):
        with pytest.raises(UserError, match=f'a label from 0 to 3, found {label}'):
            record_attention(model, *pair, (50, 21), label)


def test_weights_that_the_gaussian_leaves(root, pair):
    model = model_of(root, 'model.prop_head.renormalize=False', name='')
    plain, found = record_attention(model, *pair, (50, 21))
    whole = dense_affinity(model, *pair)[..., 30]
    rows, columns = np.mgrid[:8, :12]
    near = whole * np.exp(-((rows - 2) ** 2 + (columns - 6) ** 2) / 36)
    np.testing.assert_allclose(found.values, near / near.sum(), atol=1e-5)
    assert f'the weights sum up to {near.sum():.1%}, here scaled up to all' in found.notes
    assert not any('sum up' in note for note in plain.notes)
    # exp(-d² / sigma²) is 0 in single precision but for the cell itself, which gets nothing.
    model.prop_head.test_sigma = 1e-3
    with torch.no_grad():
        model.prop_head.convs[6].weight.mul_(1e3)
    _, found = record_attention(model, *pair, (50, 21))
    assert found.values.sum() == 0
    assert any(note.startswith('all weights are 0') for note in found.notes)
    model.prop_head.test_sigma = None
    assert len(record_attention(model, *pair, (50, 21))) == 1


def test_cells_of_pixels_and_masks_and_mass_in_a_box_by_hand():
    shape, same = (32, 48), (1.0, 1.0)  # 4 x 6 cells at stride 8
    for place, scale, size, cells in (
        ((7, 8), same, (4, 6), [(1, 0)]),
        ((47, 31), same, (4, 6), [(3, 5)]),
        # The network sees the frame twice as wide and half as high: (16.5 * 2, 16.5 / 2).
        ((16, 16), (2.0, 0.5), (2, 12), [(1, 4)]),
        # The last pixel stays in the last cell even where rounding takes features away.
        ((47, 31), same, (3, 5), [(2, 4)]),
        # Cell (1, 1) whole, (1, 2) by 4 of 8 columns, (1, 3) not at all; (2, ...) by 3 of 8 rows.
        (covering(8, 8, 20, 19, shape), same, (4, 6), [(1, 1), (1, 2)]),
        # By half nowhere: 2 x 3 pixels in (0, 0), and 3 x 3 in (0, 1).
        (covering(6, 2, 11, 5, shape), same, (4, 6), [(0, 1)]),
        # A frame of 48 x 32 shown to the network as 24 x 16: cells are 16 pixels.
        (covering(16, 0, 32, 16, shape), (0.5, 0.5), (2, 3), [(0, 1)]),
    ):
        found = chosen_cells(place, size, 8, scale).tolist()
        assert [divmod(cell, size[1]) for cell in found] == cells
    boxes = (0, 0, 20, 20), (5, 10, 99, 12), (30, 0, 40, 9)
    values = np.array([[0.1, 0.2], [0.3, 0.4]])
    found = [_mass_in_box(values, (10, 10), box) for box in boxes]
    # In the second one: half of the left column, all of the right one, of the lower row a fifth.
    assert found == pytest.approx([1, 0.2 * (0.15 + 0.4), 0])
    assert _mass_in_box(values, (10, 5), (10, 0, 20, 5)) == pytest.approx(0.2)
