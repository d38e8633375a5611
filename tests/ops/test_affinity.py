"""Inter-frame attention against its dense definition in double precision."""

import itertools

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


# --- references -----------------------------------------------------------------------------------


def dense_affinity(reference, current, sizes=None, sigma=None):
    """The definition: (B, P, Q) of (B, C, P) and (B, C, Q)."""
    matrix = (reference.transpose(1, 2) @ current).softmax(dim=1)
    return matrix if sigma is None else matrix * slow_gaussian(*sizes, sigma).to(matrix)


def slow_gaussian(reference_size, current_size, sigma):
    """(P, Q) exp(-d² / sigma²) of the distance d of two cells in the plane."""
    rows = [
        [
            -((y - j) ** 2 + (x - i) ** 2) / sigma**2
            for j, i in itertools.product(*map(range, current_size))
        ]
        for y, x in itertools.product(*map(range, reference_size))
    ]
    return torch.tensor(rows, dtype=torch.double).exp()


def dense_attention(query, key, value):
    return (query @ key.transpose(1, 2)).softmax(dim=2) @ value


# --- what is compared -----------------------------------------------------------------------------


def inputs(device='cpu'):
    """Reference, current and maps, all of which learn."""
    positions = REFERENCE[0] * REFERENCE[1]
    shapes = [(CHANNELS, positions), (CHANNELS, CURRENT[0] * CURRENT[1]), (MAPS, positions)]
    return leaves([torch.randn(PAIRS, *shape) for shape in shapes], torch.float, device)


def leaves(tensors, dtype=torch.double, device='cpu'):
    return [one.detach().to(device, dtype).requires_grad_() for one in tensors]


def gaussian_of(sigma, like):
    return None if sigma is None else gaussian_factors(REFERENCE, CURRENT, sigma, like)


def gradients(outputs, given, **options):
    """Of a sum in which every output number has another, fixed weight."""
    total = sum(
        (output * torch.linspace(-1, 2, output.numel()).view(output.shape).to(output)).sum()
        for output in outputs
    )
    return torch.autograd.grad(total, given, **options)


def assert_all_close(found, expected, atol=1e-5, rtol=1e-5):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one.double().cpu(), other.double().cpu(), atol=atol, rtol=rtol)


# --- affinity and carry ---------------------------------------------------------------------------


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
    gaussian = gaussian_factors((1, 2), (1, 2), 2.0, reference)
    arrived, total = carry(reference, current, torch.tensor([[[0.0, 8.0]]]), gaussian)
    near = 0.7788008
    torch.testing.assert_close(arrived, torch.tensor([[[6 * near, 2.0]]]))
    torch.testing.assert_close(total, torch.tensor([[[0.25 + 0.75 * near, 0.75 * near + 0.25]]]))


@pytest.mark.parametrize(('reference', 'current'), [((2, 3), (4, 2)), ((1, 5), (3, 1))])
def test_gaussian_factors_make_the_gaussian_of_the_plane(reference, current):
    rows, columns = gaussian_factors(reference, current, 2.5, torch.zeros(1))
    product = torch.einsum('yj,xi->jiyx', rows, columns)
    product = product.reshape(reference[0] * reference[1], current[0] * current[1])
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
    assert_all_close([whole], [matrix])
    assert_all_close(gradients([whole], given[:2]), matrix_gradients)
    for budget in BUDGETS:
        outputs = carry(*given, gaussian, budget=budget)
        assert_all_close(outputs, expected)
        assert_all_close(gradients(outputs, given), slow_gradients)
        with torch.no_grad():
            assert_all_close(carry(*given, gaussian, budget=budget), expected)


@pytest.mark.parametrize('sigma', [None, SIGMA])
def test_columns_are_those_of_the_whole_matrix(sigma):
    reference, current, _ = inputs()
    gaussian = gaussian_of(sigma, current)
    # Of the last row, out of order, and one twice: (row, column) (2, 3), (0, 1), (0, 1).
    places = torch.tensor([11, 1, 1])
    columns = affinity(reference, current[:, :, places], gaussian, places)
    torch.testing.assert_close(columns, affinity(reference, current, gaussian)[:, :, places])


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

    given = leaves([reference[:0], current[:0]], torch.float)
    arrived, total = carry(*given, maps[:0].detach(), gaussian, budget=budget)
    assert arrived.shape == (0, MAPS, 12) and total.shape == (0, 1, 12)
    assert [one.shape for one in torch.autograd.grad(arrived.sum(), given)] == [
        (0, CHANNELS, 6),
        (0, CHANNELS, 12),
    ]

    given = leaves([reference[:, :, :1], current[:, :, :1]], torch.float)
    one_cell = None if sigma is None else gaussian_factors((1, 1), (1, 1), sigma, current)
    arrived, total = carry(*given, maps[:, :, :1], one_cell, budget=budget)
    assert_all_close([arrived, total], [maps[:, :, :1], torch.ones(PAIRS, 1, 1)])
    assert all(one.abs().max() == 0 for one in torch.autograd.grad(arrived.sum(), given))


# --- attend ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('budget', BUDGETS)
@pytest.mark.parametrize('value_channels', [CHANNELS, 3, 7])
@pytest.mark.parametrize('counts', [(6, 9), (9, 6), (1, 4), (4, 1)])
def test_attend_equals_the_definition(counts, value_channels, budget, device):
    references, currents = counts
    shapes = [(currents, CHANNELS), (references, CHANNELS), (references, value_channels)]
    given = leaves([torch.randn(PAIRS, *shape) for shape in shapes], torch.float, device)
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
    given = leaves([torch.randn(1, 5, 8) for _ in range(3)], torch.float, 'cuda')
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


@pytest.mark.parametrize('value_channels', [CHANNELS, 3])
def test_attend_no_pairs(value_channels):
    shapes = [(0, 5, CHANNELS), (0, 6, CHANNELS), (0, 6, value_channels)]
    given = leaves([torch.zeros(shape) for shape in shapes], torch.float)
    output = attend(*given)
    assert output.shape == (0, 5, value_channels)
    assert [one.shape for one in torch.autograd.grad(output.sum(), given)] == shapes


# --- memory ---------------------------------------------------------------------------------------


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
    """Bytes of the largest tensor of forward and backward, and of all that backward keeps.

    Also gives the output and the gradients.
    """
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
    shapes = [(pairs, 4, 384), (pairs, 4, 320), (pairs, 2, 384)]
    given = leaves([torch.randn(shape) for shape in shapes], torch.float)
    gaussian = None if sigma is None else gaussian_factors((16, 24), (16, 20), sigma, given[0])

    def carried(budget):
        return largest_and_saved(lambda *some: carry(*some, gaussian, budget=budget)[0], given)

    dense, budget = pairs * 384 * 320 * 4, 17 * 384 * 4
    largest, saved, outputs = carried(BUDGET)
    assert largest == dense and saved >= dense
    block_largest, block_saved, block_outputs = carried(budget)
    assert block_largest <= budget
    # Features, maps and the like, but no blocks.
    assert block_saved < 0.1 * dense
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


# --- half precision -------------------------------------------------------------------------------


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
        found = gradients(outputs, [reference, current])
        # Gradients take the features' type.
        near = {torch.bfloat16: 1e-2, torch.float16: 2e-3, torch.float32: 2e-4}[dtype]
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
    half = dtype != torch.float32 or autocast
    for budget in BUDGETS:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
            output = attend(*given, budget=budget)
        near = 2e-2 if half else 2e-5
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
    value = torch.randn(1, 20, value_channels, device=device)
    expected = attend(query, key, value)
    with torch.autocast(device, dtype=torch.bfloat16):
        output = attend(query, key, value)
    assert output.dtype == value.dtype
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
