import pytest
import torch

from vispropnet.models.prop_heads import (
    CategoryAffinity,
    PlainAffinity,
    PropagationHead,
    WeightedAffinity,
)
from vispropnet.registry import MODELS

CHANNELS, CLASSES, RANK = 5, 4, 2
LABELS = torch.tensor([2, 0, 2])
WEIGHTED, CATEGORY = dict(type='WeightedAffinity'), dict(type='CategoryAffinity', rank=RANK)


def head_of(affinity):
    return PropagationHead(
        in_channels=2,
        num_levels=1,
        level=0,
        channels=CHANNELS,
        num_mask_convs=1,
        num_classes=CLASSES,
        affinity=affinity,
    )


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
    assert torch.equal(PlainAffinity()(current, LABELS), current[None])
    weighted = randomise(WeightedAffinity(CHANNELS))
    # The identity and a 6 in row 1, column 2; x is 1, 10, 100 and so on.
    powers = 10.0 ** torch.arange(CHANNELS)[:, None]
    with torch.no_grad():
        weighted.weight.copy_(torch.eye(CHANNELS))
        weighted.weight[1, 2] = 6
    assert weighted(powers, LABELS).flatten().tolist() == [1, 610, 100, 1000, 10000]
    category = randomise(CategoryAffinity(CHANNELS, CLASSES, RANK))
    found = category(current, LABELS)
    for one, label in zip(found, LABELS, strict=True):
        matrix = torch.eye(CHANNELS) + category.left[label] @ category.right[label].t()
        torch.testing.assert_close(one, matrix @ current, atol=1e-5, rtol=1e-5)
    assert category(current, LABELS[:0]).shape == (0, CHANNELS, 6)


@pytest.mark.parametrize('config', [WEIGHTED, CATEGORY])
def test_identity_at_the_start_equals_plain(config):
    head, plain = head_of(config), head_of(dict(type='PlainAffinity'))
    head.init_weights()
    torch.testing.assert_close(arrived(head), arrived(plain), atol=1e-6, rtol=1e-6)
    # And no longer once it has other weights.
    randomise(head.affinity)
    assert (arrived(head) - arrived(plain)).abs().max() > 0.05


@pytest.mark.parametrize(
    ('config', 'shapes'),
    [
        (dict(type='PlainAffinity'), {}),
        (WEIGHTED, {'affinity.weight': (CHANNELS, CHANNELS)}),
        (
            CATEGORY,
            {
                'affinity.left': (CLASSES, CHANNELS, RANK),
                'affinity.right': (CLASSES, CHANNELS, RANK),
            },
        ),
    ],
)
def test_weights_are_saved_and_loaded(config, shapes):
    head = randomise(head_of(config))
    state = {name: one for name, one in head.state_dict().items() if name.startswith('affinity')}
    assert {name: tuple(one.shape) for name, one in state.items()} == shapes
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
        loss = (arrived(head) - 0.9).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        found = {name: one.grad.abs().max() for name, one in head.affinity.named_parameters()}
        assert {name for name, most in found.items() if most > 1e-4} == names
        optimizer.step()
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize('kind', ['WeightedAffinity', 'CategoryAffinity', 'PlainAffinity'])
def test_channels_and_categories_are_those_of_the_head(kind):
    assert head_of(dict(type=kind, channels=CHANNELS)).affinity.channels == CHANNELS
    with pytest.raises(ValueError, match=r'channels=16, but the features of the head have .*=5'):
        head_of(dict(type=kind, channels=16))
    if kind == 'CategoryAffinity':
        with pytest.raises(ValueError, match='num_classes=3, but the head has num_classes=4'):
            head_of(dict(type=kind, num_classes=3))


@pytest.mark.parametrize(('name', 'value'), [('rank', 0), ('rank', -3), ('num_classes', 0)])
def test_bad_rank_or_categories(name, value):
    config = dict(type='CategoryAffinity', channels=4, num_classes=3, rank=8)
    with pytest.raises(ValueError, match=rf'(?s){name}.*{value}'):
        MODELS.build({**config, name: value})
