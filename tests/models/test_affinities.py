import pytest
import torch

from vispropnet.models import prop_heads
from vispropnet.registry import MODELS

CHANNELS, CLASSES, RANK = 5, 4, 2
LABELS = torch.tensor([2, 0, 2])
WEIGHTED, CATEGORY = dict(type='WeightedAffinity'), dict(type='CategoryAffinity', rank=RANK)
PLAIN, FACTOR = dict(type='PlainAffinity'), (CLASSES, CHANNELS, RANK)


def head_of(affinity):
    options = dict(in_channels=2, num_levels=1, level=0, num_mask_convs=1, affinity=affinity)
    return prop_heads.PropagationHead(**options, channels=CHANNELS, num_classes=CLASSES)


def arrived(head):
    """What of three boxes arrives; the features are the same each time."""
    generator = torch.Generator().manual_seed(1)
    reference, current = torch.randn(2, CHANNELS, 3, 4, generator=generator)
    boxes = torch.tensor([[0.0, 0, 16, 16], [8, 8, 32, 24], [0, 0, 8, 8]])
    return head.attention(reference, current, boxes, LABELS)[0]


def randomise(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return module


def test_each_is_its_matrix_times_the_features():
    current = torch.randn(CHANNELS, 6)
    assert torch.equal(prop_heads.PlainAffinity()(current, LABELS), current[None])
    weighted = randomise(prop_heads.WeightedAffinity(CHANNELS))
    # The identity and a 6 in row 1, column 2; x is 1, 10, 100 and so on.
    powers = 10.0 ** torch.arange(CHANNELS)[:, None]
    with torch.no_grad():
        weighted.weight.copy_(torch.eye(CHANNELS))
        weighted.weight[1, 2] = 6
    assert weighted(powers, LABELS).flatten().tolist() == [1, 610, 100, 1000, 10000]
    category = randomise(prop_heads.CategoryAffinity(CHANNELS, CLASSES, RANK))
    found = category(current, LABELS)
    for one, label in zip(found, LABELS, strict=True):
        matrix = torch.eye(CHANNELS) + category.left[label] @ category.right[label].t()
        torch.testing.assert_close(one, matrix @ current, atol=1e-5, rtol=1e-5)
    assert category(current, LABELS[:0]).shape == (0, CHANNELS, 6)


@pytest.mark.parametrize('config', [WEIGHTED, CATEGORY])
def test_identity_at_the_start_equals_plain(config):
    head, plain = head_of(config), head_of(PLAIN)
    head.init_weights()
    torch.testing.assert_close(arrived(head), arrived(plain), atol=1e-6, rtol=1e-6)
    # And no longer once it has other weights.
    randomise(head.affinity)
    assert (arrived(head) - arrived(plain)).abs().max() > 0.05


@pytest.mark.parametrize(
    ('config', 'shapes'),
    [
        (PLAIN, {}),
        (WEIGHTED, {'affinity.weight': (CHANNELS, CHANNELS)}),
        (CATEGORY, {'affinity.left': FACTOR, 'affinity.right': FACTOR}),
    ],
)
def test_weights_are_saved_and_loaded(config, shapes):
    head = randomise(head_of(config))
    state = head.state_dict().items()
    assert {name: one.shape for name, one in state if name.startswith('affinity')} == shapes
    other = head_of(config)
    other.load_state_dict(head.state_dict())
    assert torch.equal(arrived(other), arrived(head))


@pytest.mark.parametrize(
    ('config', 'moving'),
    # V is zeros at the start, so U has no gradient in the first step.
    [(WEIGHTED, [{'weight'}] * 3), (CATEGORY, [{'right'}, {'left', 'right'}, {'left', 'right'}])],
)
def test_it_learns(config, moving):
    head = head_of(config)
    optimizer = torch.optim.SGD(head.affinity.parameters(), lr=0.5)
    losses = []
    for names in moving:
        losses.append((arrived(head) - 0.9).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        found = {name: one.grad.abs().max() for name, one in head.affinity.named_parameters()}
        assert {name for name, most in found.items() if most > 1e-4} == names
        optimizer.step()
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize('config', [WEIGHTED, CATEGORY, PLAIN])
def test_channels_and_categories_are_those_of_the_head(config):
    assert head_of(dict(config, channels=CHANNELS)).affinity.channels == CHANNELS
    with pytest.raises(ValueError, match=r'channels=16, but the features of the head have .*=5'):
        head_of(dict(config, channels=16))


def test_bad_rank_or_categories():
    with pytest.raises(ValueError, match='num_classes=3, but the head has num_classes=4'):
        head_of(dict(CATEGORY, num_classes=3))
    for name, value in (('rank', 0), ('rank', -3), ('num_classes', 0)):
        config = dict(CATEGORY, channels=4, num_classes=3) | {name: value}
        with pytest.raises(ValueError, match=rf'(?s){name}.*{value}'):
            MODELS.build(config)
