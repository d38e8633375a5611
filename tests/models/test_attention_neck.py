import pytest
import torch
from torch.nn import functional

from vispropnet.models.necks import AttentionNeck

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
CHANNELS = 4
SIZES = [(4, 6), (3, 5), (2, 3), (1, 2), (1, 1)]


def levels(batch=2, sizes=SIZES, channels=CHANNELS, device='cpu'):
    return [torch.randn(batch, channels, *size, device=device) for size in sizes]


def dense_neck(current, reference, parameters, value):
    """One level (B, C, H, W) by the definition, and the correlation (B, P, Q)."""

    def branch(name, features):
        weight, bias = parameters[f'{name}.weight'], parameters[f'{name}.bias']
        return functional.conv2d(features, weight, bias, padding=1).clamp(min=0).flatten(2)

    query, key = branch('conv1', current), branch('conv1', reference)
    correlation = (key.transpose(1, 2) @ query).softmax(dim=1)
    content = branch('conv2', {'current': current, 'reference': reference}[value])
    attended = (content @ correlation).view(current.shape)
    return current + parameters['gamma'] * attended, correlation


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('budget', [None, 1])
@pytest.mark.parametrize('value', ['current', 'reference'])
def test_levels_equal_the_definition(value, budget, device):
    neck = AttentionNeck(CHANNELS, value=value).to(device)
    if budget is not None:
        neck.budget = budget
    sizes = [(3, 4), (2, 3), (1, 1)] * 2
    given = [one.requires_grad_() for one in levels(sizes=sizes, device=device)]
    names, parameters = zip(*neck.named_parameters(), strict=True)
    given += parameters
    slow = [one.detach().double().cpu().requires_grad_() for one in given]
    slow_parameters = dict(zip(names, slow[6:], strict=True))
    pairs = zip(slow[:3], slow[3:6], strict=True)
    expected = [dense_neck(*pair, slow_parameters, value)[0] for pair in pairs]
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        outputs = neck(given[:3], given[3:6])
        gradients = torch.autograd.grad(sum(one.square().sum() for one in outputs), given)
    slow_gradients = torch.autograd.grad(sum(one.square().sum() for one in expected), slow)
    for one, other in zip([*outputs, *gradients], [*expected, *slow_gradients], strict=True):
        torch.testing.assert_close(one.double().cpu(), other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('value', ['current', 'reference'])
def test_channels_that_no_kernel_likes(value):
    """Odd channels, one reference position or one query: the same numbers."""
    neck = AttentionNeck(3, value=value)
    current, reference = (levels(1, [(2, 2), (1, 1)], 3) for _ in range(2))
    parameters = {name: one.double() for name, one in neck.named_parameters()}
    for one, other, output in zip(current, reference, neck(current, reference), strict=True):
        expected, _ = dense_neck(one.double(), other.double(), parameters, value)
        torch.testing.assert_close(output.double(), expected, atol=1e-5, rtol=1e-5)


def test_published_form_reads_the_current_frame_at_reference_positions():
    """value='current' sums other places up than the attended ones: the fault that it keeps."""
    outputs = []
    for value in ('current', 'reference'):
        neck = AttentionNeck(2, value=value, gamma=1.0)
        with torch.no_grad():
            for conv, scale in ((neck.conv1, 10.0), (neck.conv2, 1.0)):
                conv.weight.zero_()
                conv.bias.zero_()
                conv.weight[:, :, 1, 1] = torch.eye(2) * scale
        # The object (1, 0) has moved from the left to the right; elsewhere is (0, 1).
        reference = torch.eye(2).reshape(1, 2, 1, 2)
        current = reference.flip(3)
        outputs.append(neck([current], [reference])[0] - current)
    published, meant = outputs
    # Attended: the object to the object, rest to rest. Of the current frame that is the other.
    torch.testing.assert_close(meant, current)
    torch.testing.assert_close(published, reference)


def test_gamma_starts_at_a_half_is_saved_and_learns():
    neck = AttentionNeck(CHANNELS)
    assert neck.state_dict()['gamma'].tolist() == [0.5]
    assert AttentionNeck(CHANNELS, gamma=0.25).gamma.tolist() == [0.25]
    current, reference = levels(), levels()
    optimizer = torch.optim.SGD([neck.gamma], lr=1e-3)
    sum(one.square().sum() for one in neck(current, reference)).backward()
    # d/dγ Σ (x + γ a)² = Σ 2 (x + γ a) a, with γ a what was added.
    pairs = zip(neck(current, reference), current, strict=True)
    expected = sum((2 * output * (output - one) / 0.5).sum().item() for output, one in pairs)
    assert neck.gamma.grad.tolist() == [pytest.approx(expected, rel=1e-4)]
    optimizer.step()
    assert neck.gamma.item() == pytest.approx(0.5 - 1e-3 * expected, rel=1e-4)


def test_correlation_of_some_positions():
    neck, positions = AttentionNeck(CHANNELS).double(), torch.tensor([11, 2])
    current, reference = torch.randn(2, 2, CHANNELS, 3, 4).double()
    _, expected = dense_neck(current, reference, dict(neck.named_parameters()), neck.value)
    found = neck.correlation(current, reference, positions)
    torch.testing.assert_close(found, expected.view(2, 3, 4, 12)[..., positions])


@pytest.mark.parametrize('device', DEVICES)
def test_autocast_is_near_single_precision(device):
    neck = AttentionNeck(8, value='reference').to(device)
    frames = [levels(2, [(6, 8), (3, 4)], 8, device) for _ in range(2)]
    with torch.autocast(device, dtype=torch.bfloat16):
        outputs = neck(*frames)
    for one, other in zip(outputs, neck(*frames), strict=True):
        torch.testing.assert_close(one.float(), other, atol=2e-2, rtol=2e-2)
    sum(one.float().sum() for one in outputs).backward()
    assert all(one.grad.isfinite().all() for one in neck.parameters())


def test_bad_options():
    with pytest.raises(ValueError, match="value must be 'current' or 'reference', got 'key'"):
        AttentionNeck(CHANNELS, value='key')
    with pytest.raises(ValueError, match='longer|shorter'):
        AttentionNeck(CHANNELS)(levels(), levels()[:3])
