import itertools
import math

import pytest
import torch

from benchmarking.plain_propagation import plain_gaussian, plain_probabilities
from benchmarking.propagation import benchmark, build_scene, make, mean_iou
from benchmarking.settings import PropagationSettings as Settings
from vispropnet.ops.affinity import affinity

SMALL = dict(missing=2, tracks=3, history=3, size=(96, 64), channels=16, classes=4)


def test_ours_equals_the_definition():
    one = dict(missing=1, tracks=1, history=1)
    for change in (dict(), dict(missing=3), one, dict(classes=1, seed=5)):
        settings = Settings(**{**SMALL, **change})
        outputs = [make(name, settings)() for name in ('ours', 'baseline')]
        assert outputs[0].shape == (settings.missing, 64, 96)
        torch.testing.assert_close(*outputs, rtol=0, atol=1e-4)
        # Masks that say something: neither everything nor nothing.
        assert 0.02 < (outputs[1] > 0.3).float().mean() < 0.5


@pytest.mark.parametrize('renormalize', [True, False])
def test_the_definition_by_hand(renormalize):
    """One frame, one track, one position at a time."""
    scene = build_scene(Settings(**{**SMALL, 'history': 1, 'tracks': 1, 'missing': 1}))
    frame, head = scene.history[0], scene.head
    head.renormalize = renormalize
    height, width = scene.features.shape[1:]
    left, top, right, bottom = frame.boxes[0].tolist()
    attended = torch.zeros_like(scene.features)
    places = list(itertools.product(range(height), range(width)))
    for y, x in places:
        here = scene.features[:, y, x]
        weights = [math.exp((frame.features[:, v, u] @ here).item()) for v, u in places]
        arrived = [0.0, 0.0]
        for (v, u), weight in zip(places, weights, strict=True):
            near = math.exp(-((y - v) ** 2 + (x - u) ** 2) / 64)
            inside = left <= (u + 0.5) * 8 <= right and top <= (v + 0.5) * 8 <= bottom
            # The cell of the box's centre counts whatever the box's size.
            inside = inside or (u, v) == ((left + right) // 16, (top + bottom) // 16)
            arrived[inside] += weight / sum(weights) * near
        if renormalize:
            arrived = [one / sum(arrived) for one in arrived]
        attended[:, y, x] = here / (1 + math.exp(arrived[0] - arrived[1]))
    with torch.no_grad():
        value = attended[None]
        for conv in head.mask_convs:
            value = conv(value)
        value = head.conv_logits(head.upsample(value).relu())[:, frame.labels[0]][None]
        options = dict(scale_factor=4, mode='bilinear', align_corners=False)
        expected = torch.nn.functional.interpolate(value, **options)[0].sigmoid()
        found = plain_probabilities(scene.features, scene.history, head)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_inputs_make_attention_neither_uniform_nor_one_hot():
    scene = build_scene(Settings(size=(320, 192), history=3, channels=256, classes=4))
    with torch.no_grad():
        one = affinity(scene.history[0].features.flatten(1)[None], scene.features.flatten(1)[None])
    entropy = -(one[0] * one[0].clamp(min=1e-12).log()).sum(dim=0)
    # As many positions as share the attention.
    assert 1.3 < entropy.exp().median() < one.shape[1] / 4


def test_the_gaussian_by_hand():
    weights = plain_gaussian((2, 3), 8.0, torch.zeros(1))
    assert weights.shape == (6, 6)
    # Position 0 is (0, 0), position 5 is (1, 2): 1 + 4 squared cells apart.
    found = [weights[place].item() for place in ((0, 5), (2, 3), (4, 4))]
    assert found == pytest.approx([math.exp(-5 / 64), math.exp(-5 / 64), 1])


def test_mean_iou():
    masks = torch.zeros(3, 2, 4, dtype=torch.bool)
    others = masks.clone()
    masks[0, 0, :2] = True  # 2 pixels, 1 of them shared, 3 in all
    others[0, 0, 1:3] = True
    masks[1, 1] = True  # against nothing; the third pair is empty
    assert mean_iou(masks, others) == pytest.approx((1 / 3 + 0 + 1) / 3)


@pytest.mark.parametrize('fusion', ['masks', 'attention'])
def test_the_last_line(last_line, fusion):
    row = benchmark(Settings(fusion=fusion, repeats=2, memory=False, **SMALL))
    assert last_line() == row
    assert row['name'] == 'propagation' and row['fusion'] == fusion
    assert row['ratio'] == pytest.approx(row['baseline_s'] / row['ours_s'], rel=1e-3)
    assert len(row['ours_times_s']) == len(row['baseline_times_s']) == row['repeats'] == 2
    assert row['ours_mib'] is None and row['baseline_mib'] is None
    assert row['max_abs_diff'] < (1e-4 if fusion == 'masks' else 1)
    assert 0 < row['mean_iou'] <= 1
    assert row['threads'] == torch.get_num_threads() and row['torch'] == torch.__version__


@pytest.mark.gpu
def test_runs_on_a_gpu():
    # Convolutions round there to TF32.
    row = benchmark(Settings(device='cuda', repeats=1, **SMALL))
    assert row['max_abs_diff'] < 0.02
    assert row['ours_mib'] > 0 and row['baseline_mib'] > 0
