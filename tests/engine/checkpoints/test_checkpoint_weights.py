import pytest
import torch
from torch import nn

from vispropnet.engine.checkpoints.load_report import LoadReport
from vispropnet.engine.checkpoints.reading import read_checkpoint
from vispropnet.engine.checkpoints.weights import load_weights
from vispropnet.errors import UserError


class Model(nn.Module):
    plain_weights = 'detector'

    def __init__(self, width=3):
        super().__init__()
        self.detector = nn.Sequential(nn.Linear(2, width))
        self.head = nn.Linear(width, 1)


def test_loads_everything_that_fits():
    source, target = Model(), Model()
    report = load_weights(target, dict(state_dict=source.state_dict()), 'a.pth')
    assert report.complete and report.loaded == 4
    assert torch.equal(target.head.weight, source.head.weight)


def test_strict_by_default_and_reports_all_at_once():
    weights = Model(width=4).state_dict()
    del weights['head.bias']
    weights['neck.weight'] = torch.zeros(1)
    target = Model()
    before = target.head.weight.clone()
    with pytest.raises(UserError) as caught:
        load_weights(target, dict(state_dict=weights), 'a.pth')
    text = str(caught.value)
    assert 'checkpoint a.pth does not fit' in text
    assert 'missing in the checkpoint (1):\n    head.bias' in text
    assert 'not in the model (1):\n    neck.weight' in text
    assert 'detector.0.weight: (4, 2) in the file, (3, 2) wanted' in text
    assert torch.equal(target.head.weight, before)


def test_not_strict_loads_what_fits_and_reports_the_rest():
    source, target = Model(), Model()
    weights = source.state_dict()
    del weights['head.bias']
    report = load_weights(target, dict(state_dict=weights), 'a.pth', strict=False)
    assert report.missing == ['head.bias'] and report.loaded == 3
    assert torch.equal(target.detector[0].weight, source.detector[0].weight)


def test_plain_detector_files_fill_the_detector():
    source, target = Model(), Model()
    report = load_weights(
        target, dict(state_dict=source.detector.state_dict()), 'coco.pth', strict=False
    )
    assert torch.equal(target.detector[0].weight, source.detector[0].weight)
    assert report.missing == ['head.weight', 'head.bias'] and report.unexpected == []


def test_prefix_of_distributed_training_is_dropped():
    source, target = Model(), Model()
    weights = {f'module.{key}': value for key, value in source.state_dict().items()}
    assert load_weights(target, weights, 'ddp.pth').complete


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_old_layout_says_how_to_convert(strict, prefix):
    parts = ('backbone.conv1', 'rpn_head.rpn_cls', 'bbox_head.fc_cls', 'head')
    weights = {f'{prefix}{part}.weight': torch.zeros(1) for part in parts}
    weights[f'{prefix}head.weight'] = torch.ones(1, 3)
    target = Model()
    before = target.head.weight.clone()
    with pytest.raises(UserError) as caught:
        load_weights(target, dict(state_dict=weights), 'old.pth', strict)
    text = str(caught.value)
    assert text.startswith('checkpoint old.pth has the layout of mmdetection 0.6')
    assert 'python tools/convert_checkpoint.py IN OUT' in text and '_legacy.py' in text
    assert torch.equal(target.head.weight, before)


class Extended(Model):
    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(1, 1)

    def explain_missing(self, missing):
        return 'it has no extra part' if 'extra.weight' in missing else ''


def test_a_model_explains_what_is_missing():
    weights = Model().state_dict()
    with pytest.raises(UserError) as caught:
        load_weights(Extended(), weights, 'a.pth')
    text = str(caught.value)
    assert 'a.pth does not fit the model of this config: it has no extra part:\n' in text
    assert 'missing in the checkpoint (2):\n    extra.weight\n    extra.bias' in text
    report = load_weights(Extended(), weights, 'a.pth', strict=False)
    assert report.missing == ['extra.weight', 'extra.bias']


def without(model, key):
    weights = model.state_dict()
    del weights[key]
    return weights


@pytest.mark.parametrize(
    ('model', 'weights', 'strict'),
    [
        (Model(), {'x': torch.zeros(1)}, False),  # nothing fits
        (Model(), dict(state_dict=[1, 2]), False),
        (Extended(), {'x': torch.zeros(1)}, True),
        # What a model does not explain.
        (Extended(), without(Extended(), 'extra.bias'), True),
        (Extended(), without(Extended(), 'head.bias'), True),
        # A module that declares nothing.
        (nn.Sequential(nn.Linear(2, 3)), nn.Linear(2, 3).state_dict(), False),
    ],
)
def test_what_does_not_fit_is_refused_without_a_reason(model, weights, strict):
    with pytest.raises(UserError, match='a.pth does not fit the model of this config:\n') as caught:
        load_weights(model, weights, 'a.pth', strict)
    missing = [key for key in model.state_dict() if key not in weights]
    assert all(key in str(caught.value) for key in missing)


def test_many_missing_tensors_are_counted_by_module():
    report = LoadReport(
        missing=[f'prop_head.convs.{n}.weight' for n in range(20)]
        + [f'detector.roi_head.mask_head.convs.{n}.bias' for n in range(3)]
        + ['attn_neck.gamma'],
        plain='detector',
    )
    assert str(report).splitlines()[1:] == [
        '  missing in the checkpoint (24):',
        '    prop_head.* (20)',
        '    detector.roi_head.mask_head.* (3)',
        '    attn_neck.* (1)',
    ]


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_of_a_training_that_diverged_are_refused(value):
    weights = Model().state_dict()
    weights['head.bias'] = torch.full((1,), value)
    model = Model()
    before = {key: one.clone() for key, one in model.state_dict().items()}
    with pytest.raises(UserError, match=r'a\.pth holds numbers that are not finite .*head\.bias'):
        load_weights(model, dict(state_dict=weights), 'a.pth')
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())


@pytest.mark.parametrize(
    ('weight', 'words'),
    [
        (torch.empty(1, 3, device='meta'), 'device meta'),
        (torch.quantize_per_tensor(torch.ones(1, 3), 0.1, 0, torch.qint8), 'quantized'),
        (torch.ones(1, 3).to_sparse(), 'sparse'),
        (torch.ones(1, 3, dtype=torch.complex64), 'of type torch.complex64'),
        (torch.ones(1, 3).to(torch.float8_e4m3fn), 'of type torch.float8_e4m3fn'),
    ],
)
@pytest.mark.parametrize('strict', [True, False])
def test_tensors_that_cannot_be_weights_are_refused(tmp_path, weight, words, strict):
    content = dict(state_dict={**Model().state_dict(), 'head.weight': weight})
    model = Model()
    before = {key: one.clone() for key, one in model.state_dict().items()}
    torch.save(content, tmp_path / 'a.pth')
    read = read_checkpoint(tmp_path / 'a.pth')
    with pytest.raises(UserError, match=rf'checkpoint a\.pth: head\.weight is .*{words}'):
        load_weights(model, read, 'a.pth', strict)
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_weights_of_other_precisions_are_loaded(dtype):
    weights = {key: torch.full_like(one, 2) for key, one in Model().state_dict().items()}
    model = Model()
    load_weights(model, {key: one.to(dtype) for key, one in weights.items()}, 'a.pth')
    assert all(torch.equal(one, weights[key]) for key, one in model.state_dict().items())


def test_shapes_fill_a_model_of_shapes():
    with torch.device('meta'):
        model = Model()
    assert load_weights(model, model.state_dict(), 'a.pth').complete
