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
LEARNABLE = [dict(type='WeightedAffinity'), dict(type='CategoryAffinity', rank=RANK)]


def head_of(affinity, **options):
    return PropagationHead(
        in_channels=2,
        num_levels=1,
        level=0,
        channels=CHANNELS,
        num_mask_convs=1,
        num_classes=CLASSES,
        affinity=affinity,
        **options,
    )


def arrived(head, labels=LABELS):
    """What of three boxes arrives; the features are the same each time."""
    generator = torch.Generator().manual_seed(1)
    reference, current = torch.randn(2, CHANNELS, 3, 4, generator=generator)
    boxes = torch.tensor([[0.0, 0, 16, 16], [8, 8, 32, 24], [0, 0, 8, 8]])
    return head.attention(reference, current, boxes, labels)[0]


def randomise(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return module


def slow_product(matrix, current):
    """(C, Q) of W and x, from single numbers."""
    return torch.tensor(
        [
            [
                sum(row[d] * current[d][q].item() for d in range(len(row)))
                for q in range(current.shape[1])
            ]
            for row in matrix
        ]
    )


def slow_category_matrix(affinity, label):
    """I + U_k V_kᵀ."""
    left, right = affinity.left[label].tolist(), affinity.right[label].tolist()
    return [
        [
            float(c == d) + sum(left[c][r] * right[d][r] for r in range(RANK))
            for d in range(CHANNELS)
        ]
        for c in range(CHANNELS)
    ]


def test_plain_is_the_current_features():
    current = torch.randn(CHANNELS, 6)
    assert torch.equal(PlainAffinity()(current, LABELS), current[None])
    assert not list(PlainAffinity(CHANNELS).parameters())


def test_weighted_is_the_matrix_times_the_features():
    affinity, current = randomise(WeightedAffinity(CHANNELS)), torch.randn(CHANNELS, 6)
    expected = slow_product(affinity.weight.tolist(), current)
    torch.testing.assert_close(affinity(current, LABELS)[0], expected, atol=1e-5, rtol=1e-5)


def test_category_is_the_matrix_of_each_label_times_the_features():
    affinity, current = (
        randomise(CategoryAffinity(CHANNELS, CLASSES, RANK)),
        torch.randn(CHANNELS, 6),
    )
    found = affinity(current, LABELS)
    assert len(found) == len(LABELS)
    for one, label in zip(found, LABELS.tolist(), strict=True):
        expected = slow_product(slow_category_matrix(affinity, label), current)
        torch.testing.assert_close(one, expected, atol=1e-5, rtol=1e-5)
    assert affinity(current, LABELS[:0]).shape == (0, CHANNELS, 6)


@pytest.mark.parametrize('config', LEARNABLE)
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
        (dict(type='WeightedAffinity'), {'affinity.weight': (CHANNELS, CHANNELS)}),
        (
            dict(type='CategoryAffinity', rank=RANK),
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


def target_loss(head, labels=LABELS):
    return (arrived(head, labels) - 0.9).square().mean()


@pytest.mark.parametrize('config', LEARNABLE)
def test_it_learns(config):
    head = head_of(config)
    before = {name: one.clone() for name, one in head.affinity.named_parameters()}
    optimizer = torch.optim.SGD(head.affinity.parameters(), lr=0.5)
    losses = []
    for step in range(3):
        loss = target_loss(head)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        moving = {
            name
            for name, one in head.affinity.named_parameters()
            if one.grad is not None and one.grad.abs().max() > 1e-4
        }
        # V is zeros at the start, so U has no gradient in the first step.
        assert moving == ({'right'} if step == 0 and 'left' in before else set(before))
        optimizer.step()
    assert losses[0] > losses[1] > losses[2]
    for name, one in head.affinity.named_parameters():
        assert (one - before[name]).abs().max() > 1e-4


def test_gradient_of_weighted_against_differences():
    head = head_of(dict(type='WeightedAffinity'))
    target_loss(head).backward()
    weight, step = head.affinity.weight, 1e-2
    for row, column in ((0, 0), (1, 3), (4, 2)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[row, column] += sign * step
                values.append(target_loss(head).item())
                weight[row, column] -= sign * step
        expected = (values[0] - values[1]) / (2 * step)
        assert weight.grad[row, column].item() == pytest.approx(expected, abs=1e-4)


def test_only_categories_that_occur_learn():
    head = head_of(dict(type='CategoryAffinity', rank=RANK))
    randomise(head.affinity)
    target_loss(head, torch.tensor([2, 0, 2])).backward()
    for parameter in head.affinity.parameters():
        moved = parameter.grad.flatten(1).abs().amax(dim=1) > 1e-6
        assert moved.tolist() == [True, False, True, False]
        assert parameter.grad[[1, 3]].abs().max() == 0


def test_objects_of_one_category_are_carried_alike():
    """An object's map does not depend on the others beside it, nor on their categories."""
    head = head_of(dict(type='CategoryAffinity', rank=RANK))
    randomise(head.affinity)
    together = arrived(head, torch.tensor([2, 0, 2]))
    alike = arrived(head, torch.tensor([2, 2, 2]))
    other = arrived(head, torch.tensor([0, 0, 3]))
    torch.testing.assert_close(together[[0, 2]], alike[[0, 2]])
    torch.testing.assert_close(together[1], other[1])
    assert (together[1] - alike[1]).abs().max() > 0.05


@pytest.mark.parametrize(
    'config',
    [
        dict(type='WeightedAffinity', channels=16),
        dict(type='CategoryAffinity', channels=16),
        dict(type='PlainAffinity', channels=16),
    ],
)
def test_other_channels_than_the_head(config):
    with pytest.raises(ValueError, match=rf'16.*\b{CHANNELS}\b'):
        head_of(config)


def test_channels_and_categories_may_be_given():
    head = head_of(dict(type='CategoryAffinity', channels=CHANNELS, num_classes=CLASSES))
    assert head.affinity.left.shape[:2] == (CLASSES, CHANNELS)


@pytest.mark.parametrize(('name', 'value'), [('rank', 0), ('rank', -3), ('num_classes', 0)])
def test_bad_rank_or_categories(name, value):
    config = dict(type='CategoryAffinity', channels=4, num_classes=3, rank=8)
    with pytest.raises(ValueError, match=rf'(?s){name}.*{value}'):
        MODELS.build({**config, name: value})
