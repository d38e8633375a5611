"""Inter-frame attention against its dense definition in double precision."""

import itertools
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vispropnet.ops.affinity import BUDGET, affinity, attend, carry, gaussian_factors

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]
# For what a pretended GPU has not: memory.
REAL_DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu(real=True))]
# Bytes: of everything, of three current positions of the reference size below, of less than one.
BUDGETS = [BUDGET, 3 * 6 * 4, 1]
PAIRS, CHANNELS, MAPS = 2, 4, 3
REFERENCE, CURRENT = (2, 3), (3, 4)
SIGMA = 1.5


def dense_affinity(reference, current, sizes=None, sigma=None):
    """The definition: (B, P, Q) of (B, C, P) and (B, C, Q)."""
    matrix = (reference.transpose(1, 2) @ current).softmax(dim=1)
    return matrix if sigma is None else matrix * slow_gaussian(*sizes, sigma).to(matrix)


def slow_gaussian(reference_size, current_size, sigma):
    """(P, Q) exp(-d² / sigma²) of the distance d of two cells in the plane."""
    cells = [itertools.product(*map(range, size)) for size in (reference_size, current_size)]
    squares = [(y - j) ** 2 + (x - i) ** 2 for (y, x), (j, i) in itertools.product(*cells)]
    squares = torch.tensor(squares, dtype=torch.double).view(math.prod(reference_size), -1)
    return (-squares / sigma**2).exp()


def dense_attention(query, key, value):
    return (query @ key.transpose(1, 2)).softmax(dim=2) @ value


def inputs(device='cpu'):
    """Reference, current and maps, all of which learn."""
    shapes = (CHANNELS, 6), (CHANNELS, 12), (MAPS, 6)
    return random_leaves(*((PAIRS, *shape) for shape in shapes), device=device)


def random_leaves(*shapes, device='cpu'):
    return leaves([torch.randn(shape) for shape in shapes], torch.float, device)


def leaves(tensors, dtype=torch.double, device='cpu'):
    return [one.detach().to(device, dtype).requires_grad_() for one in tensors]


def gaussian_of(sigma, like, sizes=(REFERENCE, CURRENT)):
    return None if sigma is None else gaussian_factors(*sizes, sigma, like)


def gradients(outputs, given, **options):
    """Of a sum in which every output number has another, fixed weight."""
    weights = [torch.linspace(-1, 2, one.numel()).view(one.shape).to(one) for one in outputs]
    total = sum((one * weight).sum() for one, weight in zip(outputs, weights, strict=True))
    return torch.autograd.grad(total, given, **options)


def assert_all_close(found, expected, atol=1e-5, rtol=1e-5):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double().cpu(), other.double().cpu(), atol=atol, rtol=rtol)


def test_two_positions_by_hand():
    # Products 0 and ln 3, then 0 and -ln 3.
    reference = torch.tensor([[[0.0, 1.0]]])
    current = torch.tensor([[[1.0, -1.0]]]) * torch.tensor(3.0).log()
    expected = torch.tensor([[[0.25, 0.75], [0.75, 0.25]]])
    torch.testing.assert_close(affinity(reference, current), expected)
    arrived, total = carry(reference, current, torch.tensor([[[0.0, 8.0], [4.0, 0.0]]]))
    torch.testing.assert_close(arrived, torch.tensor([[[6.0, 2.0], [1.0, 3.0]]]))
    assert total.tolist() == [[[1, 1]]]
    # One row of two cells, 1 apart, weighs exp(-1 / 4).
    gaussian, near = gaussian_factors((1, 2), (1, 2), 2.0, reference), 0.7788008
    arrived, total = carry(reference, current, torch.tensor([[[0.0, 8.0]]]), gaussian)
    torch.testing.assert_close(arrived, torch.tensor([[[6 * near, 2.0]]]))
    torch.testing.assert_close(total, torch.tensor([[[0.25 + 0.75 * near, 0.75 * near + 0.25]]]))


@pytest.mark.parametrize(('reference', 'current'), [((2, 3), (4, 2)), ((1, 5), (3, 1))])
def test_gaussian_factors_make_the_gaussian_of_the_plane(reference, current):
    rows, columns = gaussian_factors(reference, current, 2.5, torch.zeros(1))
    product = torch.einsum('yj,xi->jiyx', rows, columns).flatten(2).flatten(0, 1)
    torch.testing.assert_close(product.double(), slow_gaussian(reference, current, 2.5))


def test_far_cells_have_the_right_distance_in_half_precision():
    # 300 is not a number of bfloat16; cells 300 apart are, at sigma 300, 1 / e alike.
    for dtype in (torch.bfloat16, torch.float16):
        rows, columns = gaussian_factors((301, 1), (301, 1), 300.0, torch.zeros(1, dtype=dtype))
        assert rows[0, 300].item() == pytest.approx(0.36788, rel=4e-3)
        assert rows[299, 300].item() == pytest.approx(1, rel=4e-3)
        assert columns.tolist() == [[1]]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('sigma', [SIGMA, None])
def test_affinity_and_carry_equal_the_definition(sigma, device):
    given = inputs(device)
    slow = leaves(given)
    matrix = dense_affinity(*slow[:2], sizes=(REFERENCE, CURRENT), sigma=sigma)
    expected = slow[2] @ matrix, matrix.sum(dim=1, keepdim=True)
    matrix_gradients = gradients([matrix], slow[:2], retain_graph=True)
    slow_gradients = gradients(expected, slow)
    gaussian = gaussian_of(sigma, given[1])
    whole = affinity(*given[:2], gaussian)
    # Columns of the last row, out of order, and one twice: (row, column) (2, 3), (0, 1), (0, 1).
    places = torch.tensor([11, 1, 1], device=device)
    columns = affinity(given[0], given[1][:, :, places], gaussian, places)
    assert_all_close([whole, columns], [matrix, matrix[:, :, places.cpu()]])
    assert_all_close(gradients([whole], given[:2]), matrix_gradients)
    for budget in BUDGETS:
        outputs = carry(*given, gaussian, budget=budget)
        assert_all_close(outputs, expected)
        assert_all_close(gradients(outputs, given), slow_gradients)
        with torch.no_grad():
            assert_all_close(carry(*given, gaussian, budget=budget), expected)


@pytest.mark.parametrize('budget', BUDGETS)
@pytest.mark.parametrize('sigma', [None, SIGMA])
def test_no_maps_no_pairs_one_position(sigma, budget):
    reference, current, maps = inputs()
    gaussian = gaussian_of(sigma, current)
    matrix = dense_affinity(reference, current, sizes=(REFERENCE, CURRENT), sigma=sigma)
    given = leaves([reference, current], torch.float)
    arrived, total = carry(*given, maps[:, :0].detach(), gaussian, budget=budget)
    assert arrived.shape == (PAIRS, 0, 12)
    assert_all_close([total], [matrix.sum(dim=1, keepdim=True)])
    # Still in the graph, for a loss of no objects.
    assert all(one.abs().max() == 0 for one in torch.autograd.grad(arrived.sum(), given))
    # No pairs.
    given = leaves([reference[:0], current[:0]], torch.float)
    arrived, total = carry(*given, maps[:0].detach(), gaussian, budget=budget)
    assert arrived.shape == (0, MAPS, 12) and total.shape == (0, 1, 12)
    found = torch.autograd.grad(arrived.sum(), given)
    assert [one.shape for one in found] == [(0, CHANNELS, 6), (0, CHANNELS, 12)]
    # One position.
    given = leaves([reference[:, :, :1], current[:, :, :1]], torch.float)
    one_cell = gaussian_of(sigma, current, ((1, 1), (1, 1)))
    arrived, total = carry(*given, maps[:, :, :1], one_cell, budget=budget)
    assert_all_close([arrived, total], [maps[:, :, :1], torch.ones(PAIRS, 1, 1)])
    assert all(one.abs().max() == 0 for one in torch.autograd.grad(arrived.sum(), given))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('budget', BUDGETS)
@pytest.mark.parametrize('value_channels', [CHANNELS, 3, 7])
@pytest.mark.parametrize('counts', [(6, 9), (9, 6), (1, 4), (4, 1)])
def test_attend_equals_the_definition(counts, value_channels, budget, device):
    references, currents = counts
    shapes = [(currents, CHANNELS), (references, CHANNELS), (references, value_channels)]
    given = random_leaves(*((PAIRS, *shape) for shape in shapes), device=device)
    slow = leaves(given)
    expected = dense_attention(*slow)
    output = attend(*given, budget=budget)
    assert_all_close([output], [expected])
    assert_all_close(gradients([output], given), gradients([expected], slow))
    with torch.no_grad():
        assert_all_close([attend(*given, budget=budget)], [expected])


@pytest.mark.gpu
def test_attend_with_torch_2_4(monkeypatch):
    """It asks for kernels without the argument for grouped queries."""
    params, asked = torch.backends.cuda.SDPAParams, []

    def of_torch_2_4(query, key, value, attn_mask, dropout, is_causal):
        asked.append(query.shape)
        return params(query, key, value, attn_mask, dropout, is_causal, False)

    monkeypatch.setattr(torch.backends.cuda, 'SDPAParams', of_torch_2_4)
    given = random_leaves(*[(1, 5, 8)] * 3, device='cuda')
    assert_all_close([attend(*given)], [dense_attention(*leaves(given))])
    assert asked == [(1, 1, 5, 8)]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('value_channels', [CHANNELS, 3])
def test_attend_takes_features_of_any_layout(value_channels, device):
    # (B, C, positions) transposed, as the features of images are.
    shapes = [(CHANNELS, 6), (CHANNELS, 9), (value_channels, 9)]
    parts = [torch.randn(PAIRS, *shape, device=device).transpose(1, 2) for shape in shapes]
    expected = attend(*[part.contiguous() for part in parts])
    assert_all_close([attend(*parts)], [expected])
    assert_all_close([attend(*[part.requires_grad_() for part in parts])], [expected])


def test_attend_gives_kernels_rows_without_what_keys_share(monkeypatch):
    """Seen on an H200: no kernel takes one row with other strides (a level of 1x1 cells), and
    products near 160 000 lose 0.4 % of the result."""
    fused, given = torch.nn.functional.scaled_dot_product_attention, []

    def record(*arguments, **options):
        given.append(arguments)
        return fused(*arguments, **options)

    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention', record)
    # Of levels of 1x1 cells, and of 2x1 and 3x1.
    for queries, keys in ((1, 1), (2, 3)):
        parts = [torch.randn(PAIRS, CHANNELS, count) for count in (queries, keys, keys)]
        parts[0][:, 0] = parts[1][:, 0] = 400
        rows = [part.transpose(1, 2) for part in parts]
        expected = dense_attention(*(part.double() for part in rows))
        assert_all_close([attend(*rows)], [expected])
        query, key, value = given.pop()
        for one, part in ((query, rows[0]), (value, rows[2])):
            torch.testing.assert_close(one[:, 0], part)
            assert one.stride() == (part[0].numel(), part[0].numel(), CHANNELS, 1)
        assert key.stride() == value.stride() and key.abs().max() < 10
        torch.testing.assert_close(key[:, 0], rows[1] - rows[1].mean(1, keepdim=True))


@pytest.mark.parametrize('value_channels', [CHANNELS, 3])
def test_attend_no_pairs(value_channels):
    shapes = [(0, 5, CHANNELS), (0, 6, CHANNELS), (0, 6, value_channels)]
    given = random_leaves(*shapes)
    output = attend(*given)
    assert output.shape == (0, 5, value_channels)
    assert [one.shape for one in torch.autograd.grad(output.sum(), given)] == shapes


class LargestTensor(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation gave."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for one in tree_leaves(outputs):
            if isinstance(one, torch.Tensor):
                self.bytes = max(self.bytes, one.numel() * one.element_size())
        return outputs


def largest_and_saved(function, given):
    """Bytes of the largest tensor, and of all that backward keeps; the output and gradients."""
    saved = {}

    def pack(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with LargestTensor() as largest:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = function(*given)
        found = torch.autograd.grad(output.square().sum(), given)
    return largest.bytes, sum(saved.values()), [output, *found]


@pytest.mark.parametrize('sigma', [None, 6.0])
@pytest.mark.parametrize('pairs', [1, 2])
def test_carry_makes_nothing_beyond_its_budget(pairs, sigma):
    given = random_leaves((pairs, 4, 384), (pairs, 4, 320), (pairs, 2, 384))
    gaussian = gaussian_of(sigma, given[0], ((16, 24), (16, 20)))

    def carried(budget):
        return largest_and_saved(lambda *some: carry(*some, gaussian, budget=budget)[0], given)

    dense, budget = pairs * 384 * 320 * 4, 17 * 384 * 4
    largest, saved, outputs = carried(BUDGET)
    assert largest == dense and saved >= dense
    largest, saved, block_outputs = carried(budget)
    # Features, maps and the like are kept, but no blocks.
    assert largest <= budget and saved < 0.1 * dense
    assert_all_close(block_outputs, outputs)
    with torch.no_grad(), LargestTensor() as recorder:
        arrived, _ = carry(*given, gaussian, budget=budget)
    assert recorder.bytes <= budget
    assert_all_close([arrived], outputs[:1])


@pytest.mark.parametrize('device', REAL_DEVICES)
@pytest.mark.parametrize('value_channels', [8, 5])
def test_attend_makes_nothing_beyond_its_budget(value_channels, device):
    shapes = [(320, 8), (384, 8), (384, value_channels)]
    given = leaves([torch.randn(2, *shape) / 2 for shape in shapes], torch.float, device)
    dense, budget = 2 * 384 * 320 * 4, 17 * 384 * 4
    largest, saved, found = largest_and_saved(lambda *some: attend(*some, budget=budget), given)
    # The gradients of a fused kernel may be padded; these are of the inputs' size.
    assert largest <= max(budget, 4 * 2 * 384 * 8)
    assert saved < 0.2 * dense
    slow = leaves([one.cpu() for one in given])
    expected = dense_attention(*slow)
    assert_all_close(found, [expected, *torch.autograd.grad(expected.square().sum(), slow)])


def large_features(dtype, device='cpu'):
    """(1, 4, 6) and (1, 4, 12) whose products lie near 160 000, and differ by little.

    Every number, and every product in single precision, is exact: what is not is the type in which
    products are summed up. float16 ends at 65 504, bfloat16 holds 160 000 to 512.
    """
    reference = torch.randint(-4, 5, (1, CHANNELS, 6)) / 2
    current = torch.randint(-4, 5, (1, CHANNELS, 12)) / 2
    reference[:, 0], current[:, 0] = 400, 400
    return leaves([reference, current], dtype, device)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float32])
def test_carry_of_large_half_precision_features(dtype, autocast, device):
    reference, current = large_features(dtype, device)
    maps = torch.randint(0, 2, (1, MAPS, 6)).to(device, dtype)
    gaussian = gaussian_factors(REFERENCE, CURRENT, SIGMA, current.detach().float())
    slow = leaves([reference, current])
    matrix = dense_affinity(*slow, sizes=(REFERENCE, CURRENT), sigma=SIGMA)
    expected = maps.double().cpu() @ matrix, matrix.sum(dim=1, keepdim=True)
    slow_gradients = gradients(expected, slow)
    for budget in BUDGETS:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
            outputs = carry(reference, current, maps, gaussian, budget=budget)
            whole = affinity(reference, current, gaussian)
        assert_all_close([*outputs, whole], [*expected, matrix])
        # Gradients take the features' type.
        near = {torch.bfloat16: 1e-2, torch.float16: 2e-3, torch.float32: 2e-4}[dtype]
        found = gradients(outputs, [reference, current])
        assert_all_close(found, slow_gradients, atol=near, rtol=near)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('value_channels', [CHANNELS, 3])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float32])
def test_attend_of_large_half_precision_features(dtype, value_channels, autocast, device):
    reference, current = large_features(dtype, device)
    value = torch.randn(1, 6, value_channels).to(device, dtype)
    rows = [one.transpose(1, 2).contiguous() for one in (current, reference)]
    given = leaves([*rows, value], dtype, device)
    slow = leaves(given)
    expected = dense_attention(*slow)
    slow_gradients = gradients([expected], slow)
    near = 2e-2 if dtype != torch.float32 or autocast else 2e-5
    for budget in BUDGETS:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
            output = attend(*given, budget=budget)
        assert_all_close([output], [expected], atol=near, rtol=near)
        found = gradients([output], given)
        # For the way back fused kernels keep the logarithm of the sum, near 160 000, in single
        # precision, so to 0.008. The gradients of query and key have 400 in channel 0.
        assert_all_close(found[:2], slow_gradients[:2], atol=8, rtol=2e-2)
        assert_all_close(found[2:], slow_gradients[2:], atol=4e-2, rtol=2e-2)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('value_channels', [8, 5])
def test_autocast_leaves_single_precision_features_as_they_are(value_channels, device):
    """The output is of the type of the values, whichever way it is computed."""
    query, key = 3 * torch.randn(2, 1, 20, 8, device=device)
    given = query, key, torch.randn(1, 20, value_channels, device=device)
    with torch.autocast(device, dtype=torch.bfloat16):
        output = attend(*given)
    torch.testing.assert_close(output, attend(*given), atol=1e-5, rtol=1e-5)
