import contextlib
import copy
import warnings

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

from benchmarking.frames import draw_clips
from benchmarking.models import build_model, settle_model
from tests.models.small_models import SMALL, SMALL_OBJPROP
from tests.processes import run_tool
from vispropnet.config import load_config
from vispropnet.engine import acceleration
from vispropnet.engine.acceleration import Acceleration, BFloat16OptimWrapper, layers_in_bfloat16
from vispropnet.errors import UserError
from vispropnet.models.frames import split_frames


@pytest.fixture(scope='module', params=[SMALL, SMALL_OBJPROP])
def trainee(request, root):
    """A small model, its config and a batch of clips."""
    path = str(root / request.param)
    model = build_model(config := load_config(path), path, seed=0)
    data = draw_clips((160, 96), batch_size=2, objects=3, classes=4, seed=0)
    settle_model(model, copy.deepcopy(data))
    return model.train(), config, data


def losses_and_gradients(trainee, **options):
    """Losses by name, all gradients in a row, and the types of the losses."""
    (model, config, data), acceleration = copy.deepcopy(trainee), Acceleration(**options)
    acceleration.prepare(model)
    wrapper = build_optim_wrapper(model, acceleration.optim_wrapper(config.optim_wrapper))
    torch.manual_seed(0)
    with wrapper.optim_context(model):
        losses = model(**model.data_preprocessor(data, True), mode='loss')
    total, figures = model.parse_losses(losses)
    total.backward()
    named = [value for name, value in losses.items() if 'loss' in name]
    kinds = {one.dtype for some in named for one in (some if isinstance(some, list) else [some])}
    gradients = [one.grad.flatten() for one in model.parameters() if one.grad is not None]
    figures = {name: value.item() for name, value in figures.items() if 'loss' in name}
    return figures, torch.cat(gradients), kinds


def cosine(one, other):
    return nn.functional.cosine_similarity(one.double(), other.double(), dim=0).item()


def test_losses_are_close_in_bfloat16_and_the_same_in_channels_last(trainee):
    plain, gradient, _ = losses_and_gradients(trainee)
    mixed, mixed_gradient, kinds = losses_and_gradients(trainee, amp='bf16')
    assert kinds == {torch.float32} and mixed.keys() == plain.keys() and mixed != plain
    assert mixed['loss'] == pytest.approx(plain['loss'], rel=0.03)
    for name, value in plain.items():
        # Proposals differ by rounding, and with them the RoIs that the heads are trained on.
        assert mixed[name] == pytest.approx(value, rel=0.1, abs=0.02), name
    assert mixed_gradient.dtype == torch.float32 and mixed_gradient.isfinite().all()
    assert cosine(gradient, mixed_gradient) > 0.9
    # Channels-last changes neither losses nor keys.
    other, other_gradient, _ = losses_and_gradients(trainee, channels_last=True)
    assert other == pytest.approx(plain, rel=1e-4, abs=1e-5)
    assert cosine(gradient, other_gradient) > 0.99999
    Acceleration(channels_last=True).prepare(model := copy.deepcopy(trainee[0]))
    assert model.detector.backbone.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    weights = trainee[0].state_dict()
    assert model.state_dict().keys() == weights.keys()
    # What was saved without is loaded with, and the other way round.
    model.load_state_dict(weights)
    trainee[0].load_state_dict(model.state_dict())


def test_a_linear_layer_multiplies_in_bfloat16():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.neck = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

        def forward(self, values):
            return (between := self.backbone(values)), [self.neck(between), None]

        def float32_outputs(self):
            return [self.neck]

    net = Net()
    for weight in net.parameters():
        nn.init.ones_(weight)
    # bfloat16 has 8 significant bits: 1 + 1/256 lies between 1 and 1 + 1/128, and goes to even.
    value = torch.tensor([[1 + 1 / 256]])
    with layers_in_bfloat16(net):
        between, (after, none) = net(value)
    assert between.dtype == torch.bfloat16 and between.item() == 1
    assert after.dtype == torch.float32 and after.item() == 1 and none is None
    after.sum().backward()
    assert net.neck.weight.grad.dtype == torch.float32
    # Outside all is as before.
    assert net(value)[1][0].item() == value.item() and not net.neck._forward_hooks
    # The modules of a wrapped model are those of the model.
    with layers_in_bfloat16(nn.DataParallel(net)):
        assert net.neck._forward_hooks and not net.backbone._forward_hooks
    with pytest.raises(ZeroDivisionError), layers_in_bfloat16(net):
        _ = 1 / 0
    assert not torch.is_autocast_enabled('cpu') and not net.neck._forward_hooks


def test_optimiser_config_is_changed_for_the_precision_only():
    config = dict(type='AmpOptimWrapper', loss_scale=8.0, optimizer=dict(type='SGD'), clip_grad=1)
    kept, fp16 = dict(optimizer=dict(type='SGD'), clip_grad=1), Acceleration(amp='fp16')
    assert Acceleration().optim_wrapper(config) == config
    assert Acceleration(amp='bf16').optim_wrapper(config) == dict(kept, type=BFloat16OptimWrapper)
    assert fp16.optim_wrapper(config) == dict(config, dtype='float16')
    added = dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16')
    assert fp16.optim_wrapper(kept) == dict(kept, **added)
    assert config['loss_scale'] == 8.0 and 'dtype' not in config
    # The wrapper resumes from the state of another.
    net = nn.Linear(2, 2)
    sgd = [torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9) for lr in (1.0, 0.5)]
    plain, mixed = OptimWrapper(sgd[0]), BFloat16OptimWrapper(optimizer=sgd[1])
    plain.update_params(net(torch.ones(1, 2)).sum())
    mixed.load_state_dict({**plain.state_dict(), 'loss_scaler': {'scale': 2.0}})
    torch.testing.assert_close(*(one.state[net.weight]['momentum_buffer'] for one in sgd))
    assert mixed.get_lr()['lr'] == [1.0]


@pytest.mark.gpu
@pytest.mark.parametrize(('capability', 'fits'), [((7, 5), False), ((8, 0), True)])
def test_gpus_that_only_emulate_bf16_are_refused(monkeypatch, capability, fits):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    with contextlib.nullcontext() if fits else pytest.raises(UserError, match='use --amp fp16'):
        Acceleration(amp='bf16').check('cuda:0')


@pytest.mark.long
def test_compiled_backbone_gives_the_same_losses(trainee):
    Acceleration(compile=True).check('cpu')
    plain, gradient, _ = losses_and_gradients(trainee)
    other, other_gradient, _ = losses_and_gradients(trainee, compile=True)
    assert other == pytest.approx(plain, rel=1e-3, abs=1e-4)
    assert cosine(gradient, other_gradient) > 0.999


def test_compiling_leaves_keys_and_other_parts(trainee):
    Acceleration(compile=True).prepare(model := copy.deepcopy(trainee[0]))
    assert model.state_dict().keys() == trainee[0].state_dict().keys()
    compiled = [name for name, one in model.named_modules() if one._compiled_call_impl]
    assert compiled == ['detector.backbone']
    with pytest.raises(UserError, match='the model has no backbone'):
        Acceleration(compile=True).prepare(nn.Linear(1, 1))


def test_bad_configs_and_what_a_cpu_cannot_do_are_reported(monkeypatch, tmp_path):
    Acceleration(amp='bf16', channels_last=True).check('cpu')
    with pytest.raises(UserError, match='fp16 .* needs a GPU.* --amp bf16 works on a CPU'):
        Acceleration(amp='fp16').check('cpu')
    compiler = tmp_path / 'g++'
    compiler.touch(0o755)
    monkeypatch.setenv('PATH', '')
    monkeypatch.setattr('sysconfig.get_path', lambda name: str(tmp_path))
    for named, message in (
        ('no-such-compiler', r'needs a C\+\+ compiler, and there is no no-such-comp'),
        ('', 'install one, set CXX, or train without'),
        (str(compiler), 'there is no .*Python.h'),
    ):
        monkeypatch.setenv('CXX', named)
        with pytest.raises(UserError, match=message):
            Acceleration(compile=True).check('cpu')
    monkeypatch.setattr(acceleration, '_cpu_computes_in_bf16', lambda: False)
    with pytest.warns(UserWarning, match='this CPU has no instructions for bf16'):
        Acceleration(amp='bf16').check('cpu')
    monkeypatch.setattr(acceleration, '_cpu_computes_in_bf16', lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        Acceleration(amp='bf16').check('cpu')
        Acceleration().check('cpu')
    # setup.py allows older versions of torch: these are there since 2.4.
    assert isinstance(torch.cpu._is_avx512_bf16_supported(), bool)
    configs = None, dict(amp='bf16', compile=True), dict(channels_last=True)
    names = [str(Acceleration.from_config(config)) for config in configs]
    assert names == ['none', 'bf16 + compile', 'channels-last']
    for config, message in (
        (['amp'], r"must be a dict with any of amp, channels_last, compile, got \['amp'\]"),
        (dict(ampp='bf16'), "unknown key 'ampp'; known: amp, channels_last, compile"),
        (dict(amp=True), "amp must be 'bf16', 'fp16' or None, got True"),
        (dict(channels_last='yes'), "channels_last must be True or False, got 'yes'"),
        (dict(compile='backbone'), "compile must be True or False, got 'backbone'"),
    ):
        with pytest.raises(UserError, match=message):
            Acceleration.from_config(config)


def first_frame(model, data):
    """Features of all frames of a batch, and what a prepared model finds in the first."""
    batch = model.data_preprocessor(copy.deepcopy(data), True)
    metainfo = {**batch['data_samples'][0][0].metainfo, 'frame_id': 0}
    with torch.no_grad(), acceleration.inference_precision(model):
        features = model.encode(batch['inputs'])
        frame = split_frames(features, [metainfo] * len(batch['inputs']))[0]
        ((_, instances),), _ = model.step(frame, model.init_state())
    return features, instances


def test_layout_and_precision_for_inference(trainee):
    model, _, data = trainee
    given = copy.deepcopy(model).eval()
    prepare_for_inference = acceleration.prepare_for_inference
    plain = prepare_for_inference(copy.deepcopy(model))
    half = prepare_for_inference(copy.deepcopy(model), 'bf16')
    assert not plain.training and not half.training
    weights = plain.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in given.state_dict().items())
    for name, module in half.named_modules():
        layer = isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))
        kinds = {weight.dtype for weight in module.parameters(recurse=False)}
        assert kinds <= {torch.bfloat16 if layer else torch.float32}, name
    found = []
    for one in (given, plain, half):
        features, instances = first_frame(one, data)
        # RoIAlign and what follows see single precision.
        assert all(level.dtype == torch.float32 for level in features)
        assert instances.scores.dtype == instances.bboxes.dtype == torch.float32
        found.append(features)
    for before, one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, before, rtol=1e-4, atol=1e-4)
        assert not torch.equal(one, other)
        # bfloat16 has 8 bits of precision.
        assert (one - other).abs().max() < 0.05 * one.abs().max()
    for amp, message in (('fp16', 'fp16 .* needs a GPU'), ('half', "amp must be .*, got 'half'")):
        with pytest.raises(UserError, match=message):
            prepare_for_inference(copy.deepcopy(model), amp)


# 64 MiB are got and freed again and again: kept, their pages are got from the system once.
FREEING = """
import resource, sys, torch
from vispropnet.engine.acceleration import keep_freed_memory
kept = sys.argv[1] == 'leave' or keep_freed_memory()
for _ in range(20):
    torch.zeros(16 << 20)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def test_freed_memory_is_kept(tmp_path):
    (tmp_path / 'freeing.py').write_text(FREEING)
    outputs = [run_tool(tmp_path / 'freeing.py', how)[1].split() for how in ('keep', 'leave')]
    if outputs[0][0] == 'False':
        pytest.skip('the C library is not glibc')
    # 16,384 pages of 4 KiB a time, 19 times.
    assert int(outputs[1][1]) - int(outputs[0][1]) > 10 * 16384


@pytest.mark.gpu
@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_steps_and_frames_on_a_gpu_are_finite(trainee, amp):
    model, config, data = copy.deepcopy(trainee)
    chosen = Acceleration(amp=amp, channels_last=True)
    chosen.check('cuda')
    chosen.prepare(model.cuda())
    wrapper = build_optim_wrapper(model, chosen.optim_wrapper(config.optim_wrapper))
    torch.manual_seed(0)
    assert torch.as_tensor(model.train_step(data, wrapper)['loss']).isfinite()
    model = acceleration.prepare_for_inference(copy.deepcopy(trainee[0]).cuda(), amp)
    _, instances = first_frame(model, trainee[2])
    assert torch.isfinite(instances.scores).all() and instances.bboxes.dtype == torch.float32
