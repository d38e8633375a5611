"""Attention maps against the dense affinity of features that are made here step by step."""

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils

import vispropnet.apis.attention_maps.recording as recording
import vispropnet.ops.affinity as ops
from vispropnet.apis import init_model
from vispropnet.apis.attention_maps.recording import attention_pictures, mass_in_box
from vispropnet.errors import UserError

FOLDER = 'configs/objprop/objprop_r18_fpn_2e_moving-shapes'
# Padded to 64 x 96 for the network: 8 x 12 cells at stride 8.
WIDTH, HEIGHT = 90, 60


def model_of(root, *overrides, name='_attn-neck'):
    torch.manual_seed(0)
    path = root / f'{FOLDER}{name}.py'
    model = init_model(str(path), None, 'cpu', overrides=overrides)
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
def pictures(monkeypatch):
    """What would be drawn."""
    asked = []

    def remember(*arguments):
        asked.append(arguments)
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(recording, 'draw_attention', remember)
    return asked


def frames(count=3, size=(HEIGHT, WIDTH)):
    return list(np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8))


def levels_of(model, frame):
    """Features of a frame: normalised, padded at the right and below, through the backbone."""
    preprocessor = model.data_preprocessor
    image = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1).float()
    image = (image - preprocessor.mean) / preprocessor.std
    padded = torch.zeros(1, 3, 64, 96)
    padded[0, :, :HEIGHT, :WIDTH] = image
    with torch.no_grad():
        return model.encode(padded)


def dense_affinity(model, reference, current, sigma=None):
    """(h, w, Q) of the propagation head."""
    with torch.no_grad():
        known, now = (
            model.prop_head.features(levels_of(model, one))[0] for one in (reference, current)
        )
        gaussian = sigma and ops.gaussian_factors(known.shape[1:], now.shape[1:], sigma, known)
        matrix = ops.affinity(known.flatten(1)[None], now.flatten(1)[None], gaussian)[0]
        matrix = matrix.double() / matrix.double().sum(dim=0)
        return matrix.view(*known.shape[1:], -1).numpy()


def dense_correlation(model, reference, current, level):
    with torch.no_grad():
        key, query = (
            model.attn_neck.conv1(levels_of(model, one)[level]).relu().double()[0]
            for one in (reference, current)
        )
        matrix = (key.flatten(1).T @ query.flatten(1)).softmax(dim=0)
        return matrix.view(*key.shape[1:], -1).numpy()


def test_maps_of_a_position_are_columns_of_the_dense_matrices(model):
    given = frames()
    maps = attention_pictures(model, given, 2, 0, position=(50, 21))
    assert [one.title for one in maps] == [
        'affinity of the propagation head',
        'affinity of the propagation head, with the distance as at test (sigma 3 cells)',
        'attention neck, stride 4',
        'attention neck, stride 8',
        'attention neck, stride 16',
    ]
    assert [one.stride for one in maps] == [8, 8, 4, 8, 16]
    # The pixel's cells: row 21 // stride and column 50 // stride.
    expected = [
        dense_affinity(model, given[0], given[2])[..., 2 * 12 + 6],
        dense_affinity(model, given[0], given[2], 3.0)[..., 2 * 12 + 6],
        dense_correlation(model, given[0], given[2], 0)[..., 5 * 24 + 12],
        dense_correlation(model, given[0], given[2], 1)[..., 2 * 12 + 6],
        dense_correlation(model, given[0], given[2], 2)[..., 1 * 6 + 3],
    ]
    for found, values in zip(maps, expected, strict=True):
        np.testing.assert_allclose(found.values, values, atol=1e-5)
        assert found.values.sum() == pytest.approx(1)
        assert found.values.max() > 2 * found.values.mean()
        assert found.picture.dtype == np.uint8 and found.picture.shape[1] >= 2 * 480
        assert f'maximum {found.values.max():.3g}' in found.caption
        assert "object's box" not in found.caption
    assert 'features of the current frame' in maps[2].caption


def test_boxes_masks_and_tracks_are_means_of_columns(model, monkeypatch, pictures):
    monkeypatch.setattr(recording, 'COLUMNS', 2)
    given = frames()
    # The centres of rows 1 and 2 and columns 3 to 5, and cells that are whole in the mask.
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
    mask[8:24, 24:48] = 1
    elsewhere = np.zeros_like(mask)
    elsewhere[10:30, 40:60] = 1
    columns = [row * 12 + column for row in (1, 2) for column in (3, 4, 5)]
    expected = dense_affinity(model, given[1], given[0])[..., columns].mean(axis=2)
    track = [mask_utils.encode(mask), mask_utils.encode(elsewhere), None]
    by_box = attention_pictures(model, given, 0, 1, box=(24, 8, 48, 24))[0]
    by_mask = attention_pictures(model, given, 0, 1, mask=mask > 0, reference_box=(40, 10, 60, 30))
    by_track = attention_pictures(model, given, 0, 1, track=track)
    for found in (by_box, by_mask[0], by_track[0]):
        np.testing.assert_allclose(found.values, expected, atol=1e-5)
        assert 'mean over 6 cells' in found.caption
    share = mass_in_box(expected, (8, 8), (40, 10, 60, 30))
    # 20 x 20 of 90 x 60 pixels.
    told = f"{share:.1%} of the mass is inside the object's box in the reference frame, which takes"
    for found in (by_mask[0], by_track[0]):
        assert f'{told} 7.4% of the frame' in found.caption
    # Frames, values, cells, what was chosen, and the box of the object.
    for *_, cell, choice, box, title, heads, notes in pictures[5:15]:
        assert cell in ((4, 4), (8, 8), (16, 16)) and box == (40, 10, 60, 30)
        assert choice.box is None and (choice.mask == mask).all()
        assert title.startswith('video: ') and len(notes) >= 3
        assert heads == ('frame 0 (current): the chosen place', 'frame 1 (reference)')
    assert [len(asked) for asked in pictures] == [9] * 15
    np.testing.assert_array_equal(pictures[0][0], given[0])
    np.testing.assert_array_equal(pictures[0][1], given[1])
    gone = attention_pictures(model, given, 0, 2, track=track)
    assert all('not visible in the reference frame' in one.caption for one in gone)


def test_padding_is_told(model, pictures):
    (found, *_) = attention_pictures(model, frames(), 0, 1, position=(85, 55))
    # Of the last column of cells 2 of 8 pixels are in the frame, of the last row 4 of 8.
    down, across = np.ones(8), np.ones(12)
    down[-1], across[-1] = 0.5, 0.25
    outside = 1 - down @ found.values @ across
    assert outside > 0.005 and f'{outside:.1%} lies in the padding' in found.caption


def test_only_the_asked_columns_are_made(model, monkeypatch, pictures):
    seen = []
    block = ops._block

    def watch(reference, current, places, gaussian):
        seen.append(current.shape[2])
        return block(reference, current, places, gaussian)

    monkeypatch.setattr(ops, '_block', watch)
    attention_pictures(model, frames(), 0, 1, position=(9, 9))
    assert seen == [1] * 5
    monkeypatch.setattr(recording, 'COLUMNS', 4)
    seen.clear()
    attention_pictures(model, frames(), 0, 1, box=(24, 8, 48, 24))
    # 6 cells of stride 8, 24 of stride 4; at stride 16 the centres (24 and 40, 8 and 24).
    assert seen == [4, 2, 4, 2, *[4] * 6, 4, 2, 4]


def test_affinity_by_category_takes_the_label(root, pictures):
    model = model_of(root, name='_category-affinity')
    head = model.prop_head
    with torch.no_grad():
        head.affinity.right.copy_(torch.randn(head.affinity.right.shape))
    given = frames()
    for label in (1, 3):
        found = attention_pictures(model, given, 1, 0, position=(50, 21), label=label)
        assert len(found) == 2
        with torch.no_grad():
            known, now = (head.features(levels_of(model, given[one]))[0] for one in (0, 1))
            weight = torch.eye(64) + head.affinity.left[label] @ head.affinity.right[label].T
            column = known.flatten(1).T @ (weight @ now[:, 2, 6])
        np.testing.assert_allclose(
            found[0].values, column.softmax(dim=0).view(8, 12).numpy(), atol=1e-4
        )
    for label in (None, 4):
        with pytest.raises(UserError, match=f'a label from 0 to 3, found {label}'):
            attention_pictures(model, given, 1, 0, position=(50, 21), label=label)


def test_what_the_gaussian_leaves(root, pictures):
    model = model_of(root, 'model.prop_head.renormalize=False', name='')
    given = frames()
    _, found = attention_pictures(model, given, 1, 0, position=(50, 21))
    whole = dense_affinity(model, given[0], given[1])[..., 30]
    rows, columns = np.mgrid[:8, :12]
    near = whole * np.exp(-((rows - 2) ** 2 + (columns - 6) ** 2) / 9)
    np.testing.assert_allclose(found.values, near / near.sum(), atol=1e-5)
    assert f'the weights sum up to {near.sum():.1%}, here scaled up to all' in found.caption
    # exp(-d² / sigma²) is 0 in single precision but for the cell itself, which gets nothing.
    model.prop_head.test_sigma = 1e-3
    with torch.no_grad():
        model.prop_head.convs[6].weight.mul_(1e3)
    _, found = attention_pictures(model, given, 1, 0, position=(50, 21))
    assert found.values.sum() == 0 and 'all weights are 0' in found.caption


def test_mass_in_a_box_by_hand():
    values = np.array([[0.1, 0.2], [0.3, 0.4]])
    assert mass_in_box(values, (10, 10), (0, 0, 20, 20)) == pytest.approx(1)
    # Half of the left column, all of the right one, of the lower row a fifth.
    assert mass_in_box(values, (10, 10), (5, 10, 99, 12)) == pytest.approx(0.2 * (0.15 + 0.4))
    assert mass_in_box(values, (10, 10), (30, 0, 40, 9)) == 0
    assert mass_in_box(values, (10, 5), (10, 0, 20, 5)) == pytest.approx(0.2)


def test_bad_input(model, small):
    given = frames()
    for options, message in (
        (dict(current=3, position=(1, 1)), 'clip: there is no frame 3; it has 3, counted from 0'),
        (dict(reference=-1, position=(1, 1)), 'there is no frame -1'),
        (dict(position=(90, 1)), 'clip, frame 0: position 90,1 is outside of the frame of 90x60'),
        (dict(), 'clip, frame 0: choose by one of'),
        (dict(track=[None] * 3), 'clip: the track is not visible in frame 0'),
        (dict(track=[None] * 3, mask=np.ones((60, 90))), 'by mask or by track, found both'),
    ):
        with pytest.raises(UserError, match=message):
            attention_pictures(
                model, given, **{**dict(current=0, reference=1), **options}, name='clip'
            )
    with pytest.raises(UserError, match=r'frame 0 has the shape \(60, 90, 3\), but frame 1'):
        attention_pictures(model, [given[0], given[1][:50]], 0, 1, position=(1, 1))
    with pytest.raises(
        UserError, match='the model is a MaskTrackRCNN, which has no attention between frames'
    ):
        attention_pictures(init_model(small, None, 'cpu'), given, 0, 1, position=(1, 1))
