"""Tests of the pretended GPU itself."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tests.pretended_gpu.context import DeviceMismatch, GpuTensor, pretended_gpu

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')


@pytest.fixture
def gpu():
    with pretended_gpu() as device:
        yield device


def test_all_is_as_before_afterwards():
    before = torch.cuda.is_available, torch.load, torch.autograd._engine_run_backward
    with pretended_gpu():
        assert torch.cuda.is_available() and torch.ones(1, device='cuda').is_cuda
    assert (torch.cuda.is_available, torch.load, torch.autograd._engine_run_backward) == before
    assert not torch.cuda.is_available()  # nor in other tests
    x = torch.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_ways_onto_the_gpu(gpu):
    for found in (
        torch.zeros(2).cuda(),
        torch.zeros(2).to('cuda:0'),
        torch.zeros(2, device='cuda'),
        torch.arange(2, device='cuda').float() * 0,
        torch.ones(3, device='cuda').new_tensor([0.0, 0.0]),
        torch.zeros_like(torch.zeros(2), device='cuda'),
    ):
        assert isinstance(found, GpuTensor) and found.device == torch.device('cuda', 0)
        assert isinstance(found, torch.cuda.FloatTensor)
        assert not isinstance(found, torch.FloatTensor)
        assert found.cpu().tolist() == [0, 0] and not found.cpu().is_cuda


@pytest.mark.parametrize(
    'wrong',
    [
        lambda x: x + torch.ones(4),
        lambda x: torch.ones(4) * x[0, 0],
        lambda x: torch.cat([x, torch.ones(3, 4)]),
        lambda x: torch.ones(4)[torch.tensor([0]).cuda()],
        lambda x: x @ torch.ones(4, 2),
        lambda x: torch.ones(4).add_(x[0]),
        lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
        lambda x: x.index_select(0, torch.tensor([0])),
        lambda x: torch.randperm(3, device='cuda', generator=torch.Generator()),
        lambda x: x.long() @ x.long().t(),
        lambda x: torch.histogram(x, 3),
        lambda x: functional.conv2d(x[None, None], torch.ones(1, 1, 2, 2)),
    ],
)
def test_what_a_gpu_refuses(gpu, wrong):
    with pytest.raises(DeviceMismatch):
        wrong(torch.ones(3, 4).cuda())
    assert len(gpu.mismatches) == 1 and __file__ in gpu.mismatches[0].place


def test_only_the_cpu_gives_arrays(gpu):
    for wrong in (lambda x: x.numpy(), np.asarray, np.array):
        with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
            wrong(torch.ones(3).cuda())


@pytest.mark.parametrize(
    ('right', 'waits'),
    [
        (lambda x: x * torch.tensor(2.0), 0),
        (lambda x: torch.where(x > 0, x, torch.tensor(0.0)), 0),
        (lambda x: x.masked_fill(x > 0, 1.0), 0),
        (lambda x: x[torch.tensor([0, 2])], 1),  # an index on the CPU
        (lambda x: x[[0, 2]], 1),
        (lambda x: x[x[:, 0] > 0], 1),
        (lambda x: x[0].sum().item(), 1),
        (lambda x: bool((x > 0).any()), 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: x.new_tensor([1.0]), 1),
        (lambda x: x.new_full((1,), 1.0), 0),
        (lambda x: torch.ones(3).to('cuda', non_blocking=True), 0),
        (lambda x: torch.ones(3).pin_memory().to('cuda', non_blocking=True), 0),
        (lambda x: x.unique(), 1),
        (lambda x: functional.one_hot(x[0].long(), 3), 0),
    ],
)
def test_waits_are_counted(gpu, right, waits):
    x = torch.ones(3, 4).cuda()
    gpu.clear()
    right(x)
    assert len(gpu.waits) == waits and not gpu.mismatches


def test_setting_by_a_mask_does_not_wait_and_a_copy_unawaited_is_a_hazard(gpu):
    x = torch.ones(3, 4).cuda()
    gpu.clear()
    x[x > 0] = 5
    assert not gpu.waits and x.inner.eq(5).all()
    x[x > 0] = torch.ones(12, device='cuda')
    assert [one.what for one in gpu.waits] == ['boolean index']
    # Reading a copy that nobody waited for.
    x.to('cpu', non_blocking=True)
    assert len(gpu.hazards) == 1 and 'hazards: 1' in gpu.report()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.last = nn.Linear(8 * 36, 4)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        return checkpoint(lambda y: self.last(y.flatten(1)).sigmoid(), x, use_reentrant=False)


@pytest.mark.parametrize('kind', [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize('options', [{}, {'fused': True}])
def test_training_is_as_on_the_cpu(gpu, kind, options):
    one, losses, batches = Net(), [], torch.randn(3, 2, 3, 8, 8)
    other = copy.deepcopy(one).cuda()
    weight = other.conv.weight
    for net in (one, other):
        optimiser = kind(net.parameters(), lr=0.1, **options)
        for inputs in batches:
            loss = net(inputs.to(net.last.weight.device)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimiser.step()
            losses.append(loss.item())
    assert losses[:3] == losses[3:]
    assert other.conv.weight is weight and isinstance(weight.grad, GpuTensor)
    found = {name: value.cpu() for name, value in other.state_dict().items()}
    torch.testing.assert_close(found, dict(one.state_dict()), rtol=0, atol=0)
    assert any('_foreach_' in name or '_fused_' in name for name in gpu.operators)


def test_gradients_of_some_inputs(gpu):
    x, y = (torch.randn(3).cuda().requires_grad_() for _ in range(2))
    product = (x * y).sum() + x.expand(2, 3).sum()
    found = torch.autograd.grad(product, [x, y], retain_graph=True)
    assert torch.equal(found[0], y + 2) and torch.equal(found[1], x) and x.grad is None
    (first,) = torch.autograd.grad(product, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), y)
    assert torch.equal(second, torch.ones(3).cuda())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast_and_scaler(gpu, dtype):
    net, inputs = Net().cuda(), torch.randn(2, 3, 8, 8).cuda()
    scaler, optimiser = torch.amp.GradScaler('cuda'), torch.optim.SGD(net.parameters(), 0.1)
    with torch.autocast('cuda', dtype):
        found = net.conv(inputs)
        assert found.dtype == dtype and found.softmax(1).dtype == torch.float32
        loss = net(inputs).float().mean()
    scaler.scale(loss).backward()
    scaler.step(optimiser)
    scaler.update()
    assert net.conv.weight.grad.dtype == torch.float32 and scaler.get_scale() == 65536


def test_attention_and_its_gradient(gpu):
    q, k, v = (torch.randn(1, 1, 5, 8).cuda().requires_grad_() for _ in range(3))
    params = torch.backends.cuda.SDPAParams(q, k, v, None, 0.0, False, False)
    assert torch.backends.cuda.can_use_efficient_attention(params)
    found = functional.scaled_dot_product_attention(q, k, v, scale=1.0)
    expected = (q @ k.transpose(-1, -2)).softmax(-1) @ v
    torch.testing.assert_close(found.cpu(), expected.cpu())
    found.sum().backward()
    assert isinstance(q.grad, GpuTensor)


def test_threads_are_on_the_gpu_too(gpu):
    with ThreadPoolExecutor() as pool:
        found = pool.submit(lambda: torch.ones(2).pin_memory().cuda()).result()
    assert isinstance(found, GpuTensor)


def test_files(gpu, tmp_path):
    net = Net().cuda()
    torch.save(net.state_dict(), tmp_path / 'a.pth')
    assert not torch.load(tmp_path / 'a.pth')['conv.weight'].is_cuda
    there = torch.load(tmp_path / 'a.pth', map_location='cuda')
    net.load_state_dict(there)
    assert there['conv.weight'].is_cuda and not net.cpu().conv.weight.is_cuda


@pytest.mark.gpu
def test_tests_with_the_mark_have_it():
    assert torch.cuda.is_available() and torch.ones(1).cuda().device == torch.device('cuda', 0)
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.gpu(real=True)
def test_what_needs_a_real_one_is_skipped():
    raise AssertionError('a pretended GPU was taken for a real one')


def test_a_program_runs_with_a_report(run_python, tmp_path):
    path = tmp_path / 'program.py'
    path.write_text('import sys, torch\nprint(sys.argv[1], torch.ones(1).cuda().neg().item())\n')
    done = run_python('-m', 'tests.pretended_gpu.program', path, 'found')
    assert done.returncode == 0 and done.stdout == 'found -1.0\n'
    assert '1 x a number' in done.stderr and f'{path}:2 <module>' in done.stderr
